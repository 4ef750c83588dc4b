import { once } from 'node:events';
import { request } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { afterEach, describe, expect, test } from 'vitest';
import { issueServer, makeAuthority } from '../pki/certificates.ts';
import type { ConnectionLimits } from './connection-share.ts';
import { limitedServer } from './server.ts';

const cleanups: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const c of cleanups.splice(0).reverse()) await c();
});

const MANY: ConnectionLimits = { total: 1000, perAddress: 1000, opening: { burst: 1000, perSecond: 1000 } };

async function serve(limits: Partial<ConnectionLimits> = {}) {
  const tls = await issueServer(await makeAuthority('test'), 'test', ['127.0.0.1']);
  const faults: Error[] = [];
  const limited = limitedServer({
    tls,
    connections: { ...MANY, ...limits },
    bodyLimit: 1000,
    onFault: (e) => faults.push(e),
  });
  const { server } = limited;
  server.get('/', () => 'ok');
  server.post('/', () => 'ok');
  server.get('/broken', () => {
    throw new Error('a secret of the inside');
  });
  server.get('/stream', async (q, reply) => {
    limited.connections.recognize(q.raw.socket, 'a node', 2);
    reply.hijack();
    reply.raw.writeHead(200);
    reply.raw.write('begin\n');
    return reply;
  });
  await server.listen({ host: '127.0.0.1', port: 0 });
  cleanups.push(() => server.close());
  const { port } = server.server.address() as AddressInfo;
  const tlsSocket = async (): Promise<Socket> => {
    const socket = tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false });
    cleanups.push(() => socket.destroy());
    socket.on('error', () => undefined);
    await once(socket, 'secureConnect');
    return socket;
  };
  const get = (path: string, options: { method?: string; body?: string; headers?: object } = {}) =>
    new Promise<{ status: number; text: string }>((resolve, reject) => {
      const asked = request(
        {
          host: '127.0.0.1',
          port,
          path,
          rejectUnauthorized: false,
          agent: false,
          method: options.method ?? 'GET',
          headers: { ...options.headers },
        },
        (response) => {
          let text = '';
          response.on('data', (d: Buffer) => (text += d.toString()));
          response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
        },
      );
      asked.on('error', reject);
      asked.end(options.body);
    });
  return { ...limited, port, tlsSocket, get, faults };
}

const closed = (socket: Socket): Promise<unknown> => (socket.destroyed ? Promise.resolve() : once(socket, 'close'));

describe('a server with limits', () => {
  test('cuts off clients that do not finish: the handshake, the headers, the body', async () => {
    const { port, tlsSocket, get } = await serve();
    const silent = connect(port, '127.0.0.1');
    cleanups.push(() => silent.destroy());
    const nothing = await tlsSocket();
    const headers = await tlsSocket();
    headers.write('GET / HTTP/1.1\r\nhost: x\r\nx-a: ');
    const body = await tlsSocket();
    body.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{"a":');
    const drip = setInterval(() => {
      if (!headers.destroyed) headers.write('a');
      if (!body.destroyed) body.write(' ');
    }, 500);
    cleanups.push(() => clearInterval(drip));
    for (const socket of [silent, nothing, headers, body]) socket.resume();
    await Promise.all([silent, nothing, headers, body].map(closed));
    expect(await get('/')).toEqual({ status: 200, text: 'ok' });
  }, 60_000);

  test('speaks TLS 1.2 and 1.3, and nothing older', async () => {
    const { port } = await serve();
    for (const version of ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'] as const) {
      // Security level 0: the client would take the old ones.
      const options = { minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' } as const;
      const socket = tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
      cleanups.push(() => socket.destroy());
      const outcome = await new Promise<string>((resolve) => {
        socket.once('secureConnect', () => resolve(String(socket.getProtocol())));
        socket.once('error', (error: NodeJS.ErrnoException) => resolve(String(error.code)));
      });
      expect(outcome).toBe(version < 'TLSv1.2' ? 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' : version);
    }
  });

  test('refuses headers and bodies beyond their size, and tells nothing of its inside', async () => {
    const { get, faults } = await serve();
    expect((await get('/', { headers: { 'x-big': 'a'.repeat(20_000) } })).status).toBe(431);
    expect(
      (
        await get('/', {
          method: 'POST',
          body: `"${'a'.repeat(2_000)}"`,
          headers: { 'content-type': 'application/json' },
        })
      ).status,
    ).toBe(413);
    expect(
      (await get('/', { method: 'POST', body: '{', headers: { 'content-type': 'application/json' } })).status,
    ).toBe(400);
    const broken = await get('/broken');
    expect(broken.status).toBe(500);
    expect(broken.text).not.toContain('secret');
    expect(faults.map((f) => f.message)).toEqual(['a secret of the inside']);
    expect((await get('/')).status).toBe(200);
  });

  test('an address that has its share loses its oldest, and an authenticated client loses nothing', async () => {
    const { connections, tlsSocket, get } = await serve({ perAddress: 8 });
    const stream = await tlsSocket();
    stream.write('GET /stream HTTP/1.1\r\nhost: x\r\n\r\n');
    await once(stream, 'data');
    const crowd: Socket[] = [];
    for (let i = 0; i < 40; i++) crowd.push(await tlsSocket());
    expect(connections.strangers).toBeLessThanOrEqual(8);
    expect(connections.cut).toBeGreaterThanOrEqual(32);
    expect(stream.destroyed).toBe(false);
    await Promise.all(crowd.slice(0, 30).map(closed));
    expect(crowd.at(-1)?.destroyed).toBe(false);
    expect(await get('/')).toEqual({ status: 200, text: 'ok' }); // from the very same address
  });

  test('one name has only so many connections beside the share', async () => {
    const { connections, tlsSocket } = await serve();
    const streams = [];
    for (let i = 0; i < 5; i++) {
      const stream = await tlsSocket();
      stream.write('GET /stream HTTP/1.1\r\nhost: x\r\n\r\n');
      await once(stream, 'data');
      streams.push(stream);
    }
    expect(connections.strangers).toBe(3);
    for (const stream of streams) stream.destroy();
    const end = performance.now() + 5_000;
    while (connections.strangers > 0 && performance.now() < end) await new Promise((r) => setTimeout(r, 10));
    expect(connections.strangers).toBe(0);
    const again = await tlsSocket();
    again.write('GET /stream HTTP/1.1\r\nhost: x\r\n\r\n');
    await once(again, 'data');
    expect(connections.strangers).toBe(0);
  });

  test('an address that opens without end is slowed down', async () => {
    const { connections, port } = await serve({ opening: { burst: 10, perSecond: 0.001 } });
    const sockets = Array.from({ length: 30 }, () => connect(port, '127.0.0.1'));
    for (const s of sockets) {
      s.on('error', () => undefined);
      cleanups.push(() => s.destroy());
    }
    await Promise.all(sockets.map((s) => once(s, 'connect')));
    await Promise.all(sockets.slice(10).map((s) => s.resume() && closed(s)));
    expect(connections.strangers).toBe(10);
  });
});
