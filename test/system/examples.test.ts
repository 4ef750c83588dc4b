import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { deleteManifests } from '../../lib/manifests/apply.ts';
import { readManifests } from '../../lib/manifests/read.ts';
import { OUTSIDE } from '../../lab/world/plan.ts';
import { checkout, useLab } from './lab.ts';

// Each example, applied to one lab: pods reach what the table in its README promises, in both families, and nothing differs elsewhere.

const EXAMPLES = ['routers', 'egress', 'policies', 'interfaces'];
const lab = useLab('examples', { family: 'dual', nodes: 2 });

type Promised = { readonly from: string; readonly to: string; readonly answer: string };

function promisedIn(example: string): Promised[] {
  const readme = readFileSync(join(checkout, 'examples', example, 'README.md'), 'utf8');
  return [...readme.matchAll(/^\| `(.*)` \| `(.*)` \| (open|rejected|closed) \|$/gm)].map(
    ([, from = '', to = '', answer = '']) => ({ from, to, answer }),
  );
}

/** "svc/ns/name:80", "ns/pod:80", "internet:7/UDP" as an address of a family, a port and a protocol. */
async function endOf(to: string, family: 4 | 6): Promise<[string, number, 'TCP' | 'UDP']> {
  const [, name = '', port = '', protocol = 'TCP'] = /^(.*):(\d+)(?:\/(UDP))?$/.exec(to) ?? [];
  const [, namespace = '', service = ''] = /^svc\/(.*)\/(.*)$/.exec(name) ?? [];
  const address =
    name === 'internet'
      ? OUTSIDE[family].host
      : service === ''
        ? await lab.ip(name, family)
        : ((
            JSON.parse(await lab.kubectl('get', 'svc', '-n', namespace, service, '-o', 'json')) as Service
          ).spec.clusterIPs.find((ip) => ip.includes(':') === (family === 6)) ?? '');
  return [address, Number(port), protocol as 'TCP' | 'UDP'];
}
type Service = { spec: { clusterIPs: string[] } };

describe.each(EXAMPLES)('examples/%s', (example) => {
  const promised = promisedIn(example);
  const folder = join(checkout, 'examples', example);

  test('comes up and keeps what its README promises', async () => {
    expect(promised.length).toBeGreaterThan(3);
    expect(new Set(promised.map((p) => p.answer)).size).toBeGreaterThan(1);
    await lab.applyFile(folder);
    const asked = promised.flatMap((p) => ([4, 6] as const).map((family) => ({ ...p, family })));
    const measure = async (): Promise<string[]> => {
      const lines: string[] = [];
      for (const { from, to, family } of asked) {
        const [address, port, protocol] = await endOf(to, family);
        const answer = (await lab.connect(from, address, port, protocol)).split(':')[0];
        lines.push(`${from} → ${to} by IPv${family}: ${answer}`);
      }
      return lines;
    };
    const wanted = asked.map(({ from, to, family, answer }) => `${from} → ${to} by IPv${family}: ${answer}`);
    expect(await lab.eventually(measure, (lines) => lines.join() === wanted.join())).toEqual(wanted);
  });

  test('and everything else is as the design says; it goes as a whole', async () => {
    expect(await lab.differences()).toEqual([]);
    await deleteManifests(lab.client, readManifests(folder));
  });
});
