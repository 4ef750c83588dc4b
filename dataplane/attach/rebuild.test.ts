import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { IpamError, NodeIpam } from '../../core/ipam/node-ipam.ts';
import type { Attachment, JournalEntry } from './attachment.ts';
import { Journal } from './journal.ts';
import { rebuild } from './rebuild.ts';

const folder = mkdtempSync(join(tmpdir(), 'journal-'));
const path = join(folder, 'j.ndjson');
afterAll(() => rmSync(folder, { recursive: true }));
const ipam = (): NodeIpam => new NodeIpam({ podCIDRs: ['10.244.1.0/24'], restMs: 1_000 });

const attachment = (id: string, ip: string): Attachment => ({
  id,
  containerID: id,
  ifname: 'eth0',
  netns: '/n',
  namespace: 'a',
  pod: id,
  uid: id,
  network: 'a/default',
  vni: 2,
  hostIf: `bhp${id}`,
  mac: '02:00:00:00:00:01',
  mtu: 1400,
  ips: [ip],
});

/** A journal of pods that came, and of which every third went. */
function history(): JournalEntry[] {
  const at = ipam();
  const entries: JournalEntry[] = [];
  for (let i = 0; i < 30; i++) {
    const { ips, events } = at.allocate('a/default', `c${i}`, i);
    entries.push(...events, { op: 'attach', attachment: attachment(`c${i}`, ips[0] ?? '') });
    if (i % 3 === 0) entries.push({ op: 'detach', id: `c${i}` }, ...at.release(ips[0] ?? '', i));
  }
  return entries;
}

/** None, when a spoilt entry has taken everything for another network. */
function give(at: NodeIpam, owner: string): readonly string[] {
  try {
    return at.allocate('c/new', owner, 10_000_000).ips;
  } catch (error) {
    expect(error).toBeInstanceOf(IpamError);
    return [];
  }
}

describe('a journal', () => {
  test('comes back as it was', () => {
    const journal = new Journal(path);
    journal.append(history());
    const loaded = journal.load();
    expect(loaded).toEqual({ entries: history(), spoilt: 0 });
    const at = ipam();
    const { byId, passedOver } = rebuild(loaded.entries, at);
    expect([byId.size, passedOver]).toEqual([20, 0]);
  });

  test('whatever lines are lost or spoilt, it is read, and no address of a pod that runs is given again', () => {
    const lines = history().map((e) => JSON.stringify(e));
    const spoil = fc.constantFrom(
      '',
      'x',
      '{}',
      'null',
      '{"op":"take","ip":"x","owner":"o"}',
      '{"op":"block","cidr":"10.244.1.0/24","network":"b/x"}',
      '{"op":"attach","attachment":{}}',
    );
    const damage = fc.array(fc.tuple(fc.nat(lines.length - 1), spoil), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(damage, (damages) => {
        const torn = [...lines];
        for (const [i, text] of damages) torn[i] = text;
        writeFileSync(path, `${torn.join('\n')}\n{"op":"ta`);
        const journal = new Journal(path);
        const { entries } = journal.load();
        const at = ipam();
        const { byId } = rebuild(entries, at);
        const live = new Set([...byId.values()].flatMap((a) => a.ips));
        for (let i = 0; i < 40; i++) for (const ip of give(at, `new${i}`)) expect(live).not.toContain(ip);
        journal.append([{ op: 'detach', id: 'x' }]);
        expect(readFileSync(path, 'utf8').endsWith('\n{"op":"detach","id":"x"}\n')).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test('any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        writeFileSync(path, bytes);
        appendFileSync(path, '\n');
        rebuild(new Journal(path).load().entries, ipam());
      }),
      { numRuns: 300 },
    );
  });
});
