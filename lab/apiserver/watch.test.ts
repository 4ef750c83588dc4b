import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { JsonLines } from './json-lines.ts';
import { Operations } from './operations.ts';
import { apiServer } from './server.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const c of cleanups.splice(0).reverse()) await c();
});

async function serve(handler: Parameters<typeof createServer>[1]): Promise<number> {
  const server: Server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))));
  return (server.address() as AddressInfo).port;
}

async function startApi() {
  const ops = new Operations({ serviceCIDRs: ['10.96.0.0/16'], families: [4] });
  ops.create(ops.resources.kind('Namespace', ''), undefined, { metadata: { name: 'default' } });
  const api = apiServer(ops, new Map([['t', { username: 'admin', groups: [] }]]));
  await api.ready();
  const port = await serve((request, response) => api.routing(request, response));
  const configMaps = ops.resources.kind('ConfigMap');
  let n = 0;
  const write = (bytes = 10): unknown =>
    ops.create(configMaps, 'default', { metadata: { name: `c${n++}` }, data: { x: 'x'.repeat(bytes) } });
  return { ops, port, write };
}

/** Sends bytes as they are. */
async function open(port: number, text: string, { reads = true } = {}): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  if (!reads) socket.pause();
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.write(text);
  return socket;
}
const get = (query: string): string =>
  `GET /api/v1/configmaps?watch=true&${query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n\r\n`;
const later = (ms = 0): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const alive = async (port: number): Promise<number> => (await fetch(`http://127.0.0.1:${port}/livez`)).status;

async function textOf(url: string): Promise<string> {
  return (await fetch(url, { headers: { authorization: 'Bearer t' } })).text();
}

describe('a watch', () => {
  test('whose time is over while its client does not read: changes go on, and nothing is written behind the end', async () => {
    const { port, write } = await startApi();
    const socket = await open(port, get('timeoutSeconds=1&allowWatchBookmarks=true'), { reads: false });
    await later(50);
    for (let i = 0; i < 20; i++) write(1 << 20); // more than the kernel keeps for a client that does not read
    await later(1_200);
    for (let i = 0; i < 5; i++) write();
    await later(50);
    expect(await alive(port)).toBe(200);
    socket.destroy();
  });

  test('of a client that never reads is dropped, with what waited for it', async () => {
    let lines: JsonLines | undefined;
    const port = await serve((_, raw) => (lines = new JsonLines(raw, { maxWaitingBytes: 1 << 20 })));
    const socket = await open(port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', { reads: false });
    while (lines === undefined) await later(5);
    for (let i = 0; i < 100 && !lines.over; i++) {
      lines.write({ x: 'x'.repeat(1 << 18) });
      await later();
    }
    expect(lines.over).toBe(true);
    socket.destroy();
  });

  test('tells what came before it ended in whole lines, and no more', async () => {
    const { port, write } = await startApi();
    write();
    const answer = textOf(`http://127.0.0.1:${port}/api/v1/configmaps?watch=true&timeoutSeconds=1`);
    await later(100);
    write();
    const events = (await answer).trimEnd().split('\n');
    expect(events.map((l) => (JSON.parse(l) as { type: string }).type)).toEqual(['ADDED', 'ADDED']);
  });

  test('with sendInitialEvents: all that is there, a bookmark that says so, then changes', async () => {
    const { port, write } = await startApi();
    write();
    const query =
      'watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true';
    const answer = textOf(`http://127.0.0.1:${port}/api/v1/configmaps?${query}`);
    await later(100);
    write();
    const events = (await answer)
      .trimEnd()
      .split('\n')
      .map((l) => JSON.parse(l) as { type: string; object: { metadata: { annotations?: object } } });
    expect(events.map((e) => e.type)).toEqual(['ADDED', 'BOOKMARK', 'ADDED']);
    expect(events[1]?.object.metadata.annotations).toEqual({ 'k8s.io/initial-events-end': 'true' });
  });

  test.each(['resourceVersion=x', 'timeoutSeconds=x', 'sendInitialEvents=true', 'labelSelector=a%20in'])(
    '%s is refused before anything is sent',
    async (query) => {
      const { port } = await startApi();
      const answer = await fetch(`http://127.0.0.1:${port}/api/v1/configmaps?watch=true&${query}`, {
        headers: { authorization: 'Bearer t' },
      });
      expect(answer.status).toBe(400);
    },
  );

  test('lasts when it asks for longer than a timer can wait', async () => {
    const { port, write } = await startApi();
    const socket = await open(port, get('timeoutSeconds=99999999999'));
    let text = '';
    socket.on('data', (d) => (text += d.toString()));
    await later(100);
    write();
    await later(100);
    expect(text).toContain('"ADDED"');
    socket.destroy();
  });
});

describe('clients that leave', () => {
  const requests = [
    get('timeoutSeconds=5&allowWatchBookmarks=true'),
    get('timeoutSeconds=5').replace(
      'HTTP/1.1\r\n',
      'HTTP/1.1\r\nAccept: application/json;as=Table;g=meta.k8s.io;v=v1\r\n',
    ),
    'GET /api/v1/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n\r\n',
    'POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{"metadata":{"name":"posted"}}',
    'PATCH /api/v1/namespaces/default/configmaps/c0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\nContent-Type: application/merge-patch+json\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n{"data":null}\r\n0\r\n\r\n',
    'DELETE /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n\r\n',
  ];

  test('at any byte of the request or of the answer, by FIN or by reset, while objects change: the server goes on', async () => {
    const { ops, port, write } = await startApi();
    const configMaps = ops.resources.kind('ConfigMap');
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...requests),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.nat(3_000),
        fc.boolean(),
        fc.array(fc.constantFrom('write', 'big', 'wait'), { maxLength: 5 }),
        async (request, part, bytesRead, reset, steps) => {
          const socket = await open(port, request.slice(0, Math.ceil(part * request.length)));
          let left = bytesRead;
          const leave = (): unknown => (reset ? socket.resetAndDestroy() : socket.destroy());
          socket.on('data', (d) => {
            left -= d.length;
            if (left <= 0) leave();
          });
          for (const step of steps) {
            if (step === 'wait') await later(1);
            else write(step === 'big' ? 300_000 : 10);
          }
          leave();
          for (const o of ops.store.list(configMaps).slice(0, 3)) ops.store.remove(configMaps, o);
        },
      ),
      { numRuns: 200 },
    );
    await later(20);
    expect(await alive(port)).toBe(200);
  });

  test('any order of writing, ending and leaving: no line behind the end, told once that it is over', async () => {
    const step = fc.constantFrom('write', 'end', 'leave', 'reset', 'wait', 'listen');
    let current: JsonLines | undefined;
    const port = await serve((_, raw) => (current = new JsonLines(raw)));
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        current = undefined;
        const socket = await open(port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n');
        while (current === undefined) await later();
        const lines: JsonLines = current;
        let [listening, told] = [0, 0];
        for (const s of [...steps, 'leave', 'wait']) {
          if (s === 'write') lines.write({ a: 1 });
          else if (s === 'end') lines.end();
          else if (s === 'leave') socket.destroy();
          else if (s === 'reset') socket.resetAndDestroy();
          else if (s === 'wait') await later(2);
          else {
            listening++;
            lines.onOver(() => told++);
          }
        }
        while (!lines.over) await later(1);
        expect(told).toBe(listening);
      }),
      { numRuns: 100 },
    );
  });
});
