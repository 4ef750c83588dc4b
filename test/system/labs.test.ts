import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { exec, ExecError } from '../../lib/exec/exec.ts';
import { labDown } from '../../lab/world/lab.ts';
import { isAlive, listProcesses } from '../../lab/world/processes.ts';
import { LABS_DIR } from '../../lab/world/plan.ts';
import { checkout, TestLab } from './lab.ts';

const shops = join(checkout, 'examples/shops');
const name = (n: string): string => `t${process.pid}-${n}`;

async function bulkhead(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  try {
    const { stdout, stderr } = await exec([process.execPath, join(checkout, 'dist/bulkhead.mjs'), ...args], {
      timeoutMs: 150_000,
    });
    return { code: 0, stdout, stderr };
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    return { code: error.result.exitCode, stdout: error.result.stdout, stderr: error.result.stderr };
  }
}

/** What of the machine itself a lab must not change. */
async function machine(): Promise<string> {
  const parts = await Promise.all([
    exec(['ip', '-j', 'link']),
    exec(['ip', 'route', 'show', 'table', 'all']),
    exec(['ip', '-6', 'route', 'show', 'table', 'all']),
    exec(['ip', 'netns']),
    exec(['nft', 'list', 'tables']),
  ]);
  return parts
    .map((p) => p.stdout)
    .join('\n')
    .replaceAll(/expires \d+sec/g, '');
}

afterAll(async () => {
  for (const n of ['one', 'two', 'dead']) await labDown(name(n));
});

describe('labs', () => {
  test('two side by side, by the command line; both gone without a trace', async () => {
    const before = await machine();
    const ups = await Promise.all([
      bulkhead('lab', 'up', '--name', name('one'), '--nodes', '2', '-f', shops),
      bulkhead('lab', 'up', '--name', name('two'), '--nodes', '1', '--ip-family', 'ipv6', '-f', shops),
    ]);
    expect(ups.map((u) => [u.code, u.stderr])).toEqual([
      [0, expect.stringContaining('is up: 2 nodes') as string],
      [0, expect.stringContaining('is up: 1 nodes') as string],
    ]);
    expect(await machine()).toBe(before);
    for (const n of ['one', 'two']) {
      const reach = await bulkhead('lab', 'reach', '--name', name(n), '-o', 'json');
      expect(reach.code).toBe(0);
      const { probes } = JSON.parse(reach.stdout) as { probes: Record<string, unknown>[] };
      expect(probes.length).toBeGreaterThan(400);
      expect(probes[0]).toMatchObject({
        from: {
          namespace: expect.any(String) as string,
          pod: expect.any(String) as string,
          node: expect.any(String) as string,
        },
        to: { kind: 'Pod', protocol: expect.any(String) as string },
        verdict: expect.any(String) as string,
        expected: expect.any(String) as string,
        why: expect.any(String) as string,
        ms: expect.any(Number) as number,
      });
    }
    expect((await bulkhead('lab', 'status', '--name', name('one'))).code).toBe(0);
    expect((await bulkhead('lab', 'up', '--name', name('one'))).stderr).toMatch(/is up; take it down first/);
    const pids = ['one', 'two'].flatMap((n) => listProcesses(name(n)));
    for (const n of ['one', 'two']) expect((await bulkhead('lab', 'down', '--name', name(n))).code).toBe(0);
    expect(pids.filter(isAlive)).toEqual([]);
    expect(['one', 'two'].map((n) => existsSync(`${LABS_DIR}/${name(n)}`))).toEqual([false, false]);
    expect(await machine()).toBe(before);
    expect((await exec(['cat', '/proc/self/mountinfo'])).stdout).not.toContain(name('one'));
  });

  test('a half-dead lab is cleaned up by the next up, and by down after kill -9 of everything', async () => {
    const lab = new TestLab('dead');
    await lab.up('ipv4', 1, []);
    const old = listProcesses(lab.name);
    process.kill(old.find((p) => p.role === 'kube')!.pid, 'SIGKILL');
    expect((await bulkhead('lab', 'up', '--name', lab.name, '--nodes', '1')).code).toBe(0);
    expect(old.filter(isAlive)).toEqual([]);
    const now = listProcesses(lab.name);
    expect(now.every(isAlive)).toBe(true);
    for (const p of now) process.kill(p.pid, 'SIGKILL');
    expect((await bulkhead('lab', 'down', '--name', lab.name)).code).toBe(0);
    expect(existsSync(`${LABS_DIR}/${lab.name}`)).toBe(false);
    expect((await bulkhead('lab', 'down', '--name', lab.name)).code).toBe(0);
  });

  test.each([
    [['lab', 'up', '--nodes', 'many'], 2, /--nodes many: a number from 1 to 50/],
    [['lab', 'up', '--ip-family', 'ipv5'], 2, /ipv4, ipv6 or dual/],
    [['lab', 'up', '--name', 'Bad Name'], 2, /no name for a lab/],
    [['lab', 'up', '-f', '/nonexistent.yaml'], 2, /no such file/],
    [['lab', 'dance'], 2, /unknown command/],
    [['lab', 'reach', '--name', 'nope'], 1, /there is no lab nope; make one/],
    [['trace', 'a/b'], 2, /missing required argument 'to'/],
    [['--colour'], 2, /unknown option/],
    [['lab', 'status', '--name', 'nope', '-o', 'xml'], 2, /write text, json or yaml/],
  ])('bulkhead %j ends with %d', async (args, code, message) => {
    const result = await bulkhead(...args);
    expect(result.stderr).toMatch(message);
    expect(result.code).toBe(code);
    expect(result.stdout + result.stderr).not.toContain('\u001b[');
  });
});
