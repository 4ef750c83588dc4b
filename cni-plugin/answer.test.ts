import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { askAgent } from './agent.ts';
import { readAnswer } from './answer.ts';
import { runPlugin } from './skel.ts';

const ENV = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c', CNI_NETNS: '/n', CNI_IFNAME: 'eth0', CNI_ARGS: '' };

/** What the plugin prints when its agent answers so. */
async function pluginWith(answer: string | Buffer): Promise<{ json: Record<string, unknown>; exitCode: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'cni-'));
  const socket = join(folder, 's');
  const server = createServer((s) => {
    s.on('error', () => undefined);
    s.once('data', () => s.end(answer));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  try {
    const config = JSON.stringify({ cniVersion: '0.4.0', name: 'b', type: 'b', socket });
    const { stdout, exitCode } = await runPlugin({ env: ENV, readStdin: () => config, ask: askAgent });
    return { json: JSON.parse(stdout) as Record<string, unknown>, exitCode };
  } finally {
    server.close();
    rmSync(folder, { recursive: true });
  }
}

test('whatever the agent answers, the plugin prints a result or an error of the specification', async () => {
  const list = fc.oneof(
    fc.array(fc.oneof(fc.jsonValue(), fc.record({ name: fc.string(), address: fc.string(), dst: fc.string() }))),
    fc.jsonValue(),
  );
  const result = fc.record({ interfaces: list, ips: list, routes: list, dns: fc.jsonValue() }, { requiredKeys: [] });
  const answer = fc.oneof(
    fc.jsonValue(),
    fc.record({ result: fc.oneof(result, fc.jsonValue()) }),
    fc.record({ error: fc.oneof(fc.record({ code: fc.jsonValue(), msg: fc.jsonValue() }), fc.jsonValue()) }),
  );
  await fc.assert(
    fc.asyncProperty(answer, async (value) => {
      const { json, exitCode } = await pluginWith(`${JSON.stringify(value)}\n`);
      expect(exitCode === 0 ? Array.isArray(json['ips']) : typeof json['code'] === 'number').toBe(true);
    }),
    { numRuns: 300 },
  );
});

test.each([
  ['no JSON', '{\n'],
  ['no line', '{"ok":true}'],
  ['nothing', ''],
  ['too much', Buffer.alloc(3 << 20, 'a')],
])('%s is code 11: the runtime tries again', async (_name, answer) => {
  expect(await pluginWith(answer)).toMatchObject({ exitCode: 1, json: { code: 11 } });
});

test('a whole answer is taken as it is', () => {
  const result = { interfaces: [{ name: 'eth0' }], ips: [{ address: '10.0.0.1/32' }], routes: [], dns: {} };
  expect(readAnswer(JSON.stringify({ result }))).toEqual({ result });
  expect(readAnswer('{"ok":true}')).toEqual({ ok: true });
  expect(readAnswer('{"error":{"code":100,"msg":"no"}}')).toEqual({ error: { code: 100, msg: 'no' } });
});
