import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CNI_ERRORS, type CniRequest } from '../../api/cni.ts';
import type { Attachments } from '../attach/attachments.ts';
import { readPortMappings } from '../attach/port-mappings.ts';
import { CniServer } from './server.ts';

let folder = '';
let server: CniServer | undefined;
const collected: unknown[] = [];
const logged: CniRequest[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cni-'));
  collected.length = 0;
  logged.length = 0;
  const attachments = {
    all: [],
    add: (request: CniRequest) => {
      const { problems } = readPortMappings(request.config);
      return problems.length > 0 ? Promise.reject(new Error(problems.join())) : Promise.reject(new TypeError('broken'));
    },
    delete: () => Promise.resolve(),
    check: () => Promise.resolve(),
    collect: (valid: unknown) => collected.push(valid),
  };
  server = await CniServer.listen(
    join(folder, 's'),
    attachments as unknown as Attachments,
    () => undefined,
    (request) => logged.push(request),
  );
});
afterEach(async () => {
  await server?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

/** What comes back for these bytes; "" when the connection ends without an answer. */
const send = (...parts: (string | Uint8Array)[]): Promise<string> =>
  new Promise((resolve) => {
    const socket = connect(join(folder, 's'));
    let answer = '';
    socket.on('data', (d) => (answer += d.toString()));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(answer));
    for (const part of parts) socket.write(part);
  });
const GOOD = { verb: 'STATUS', containerID: '', netns: '', ifname: '', args: {}, config: {} };

test('every line of JSON has an answer, and the next caller is served', async () => {
  const field = fc.oneof(fc.jsonValue(), fc.string());
  const request = fc.record(
    {
      verb: fc.oneof(fc.constantFrom('ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'PODS', 'add', '__proto__'), field),
      containerID: field,
      netns: field,
      ifname: field,
      args: fc.oneof(fc.dictionary(fc.string(), fc.string()), field),
      config: fc.oneof(
        fc.record({
          runtimeConfig: fc.oneof(field, fc.record({ portMappings: field })),
          'cni.dev/valid-attachments': field,
        }),
        field,
      ),
    },
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.jsonValue(), request), async (value) => {
      const answer = JSON.parse(await send(`${JSON.stringify(value)}\n`)) as Record<string, unknown>;
      expect(['result', 'error', 'ok', 'pods'].filter((k) => k in answer)).toHaveLength(1);
    }),
    { numRuns: 500 },
  );
  expect(await send(`${JSON.stringify(GOOD)}\n`)).toBe('{"ok":true}\n');
});

test.each([
  'null',
  '7',
  '[]',
  '{}',
  '{"verb":"PODS"}',
  '{"verb":"DANCE","containerID":"","netns":"","ifname":"","args":{},"config":{}}',
  '{"verb":"ADD","containerID":"c","netns":"n","ifname":"eth0","args":{"K8S_POD_NAME":7},"config":{}}',
])('%s is an error that says so', async (line) => {
  const answer = JSON.parse(await send(`${line}\n`)) as { error: { code: number; msg: string } };
  expect(answer.error.code).toBe(CNI_ERRORS.Decoding);
  expect(answer.error.msg).toContain('different versions');
  expect(logged).toEqual([]);
});

test('any bytes, in any pieces', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 4 }), async (parts) => {
      expect((await send(...parts, '\n')).endsWith('\n')).toBe(true);
    }),
    { numRuns: 200 },
  );
  expect(await send(JSON.stringify(GOOD).slice(0, 9), JSON.stringify(GOOD).slice(9), '\n')).toBe('{"ok":true}\n');
});

test('a line without end is cut, and costs no more than its limit', async () => {
  const answer = JSON.parse(await send('"', 'a'.repeat(2 << 20))) as { error: { msg: string } };
  expect(answer.error.msg).toContain('longer than');
  expect(await send(`${JSON.stringify(GOOD)}\n`)).toBe('{"ok":true}\n');
});

test('GC with a list that cannot be read frees nothing', async () => {
  for (const valid of [7, [7], [{ containerID: 7 }], null])
    await send(`${JSON.stringify({ ...GOOD, verb: 'GC', config: { 'cni.dev/valid-attachments': valid } })}\n`);
  expect(collected).toEqual([]);
  const valid = [{ containerID: 'c', ifname: 'eth0' }];
  await send(`${JSON.stringify({ ...GOOD, verb: 'GC', config: { 'cni.dev/valid-attachments': valid } })}\n`);
  expect(collected).toEqual([valid]);
});
