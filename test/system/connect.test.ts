import { createSocket } from 'node:dgram';
import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Attempt, connectAll } from '../../lib/connect/connect.ts';

// The client that all tests measure with says what a connection came to, also on a machine that is busy or stands still for a while.

const HERE = '/proc/thread-self/ns/net';
let server: Server;
let port = 0;
/** How long the server takes to say who it is. */
let pauseMs = 0;

beforeAll(async () => {
  server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      // In two pieces: the name is whole with the second one.
      setTimeout(() => {
        socket.write('HTTP/1.0 200 OK\r\n\r\n{"namespace":"a","name":"p');
        setTimeout(() => socket.end('1"}'), 20);
      }, pauseMs);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as { port: number }).port;
});
afterAll(() => server.close());

const attempt = (fields: Partial<Attempt> = {}): Attempt => ({
  netns: HERE,
  address: '127.0.0.1',
  port,
  protocol: 'TCP',
  timeoutMs: 200,
  identify: true,
  ...fields,
});
const asked = async (a: Attempt): Promise<unknown[]> =>
  (await connectAll([a])).map(({ verdict, by, error }) => [verdict, by, error]);

test('a peer that is slow to say who it is', async () => {
  pauseMs = 600;
  expect(await asked(attempt())).toEqual([['open', 'a/p1', undefined]]);
  pauseMs = 0;
});

test('a machine that stands still, client and server alike: the time does not count', async () => {
  const result = asked(attempt({ timeoutMs: 400 }));
  // A turn of this thread that takes as long as several time-outs: neither of the two runs meanwhile.
  setTimeout(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500), 1);
  expect(await result).toEqual([['open', 'a/p1', undefined]]);
});

test('nothing listens: refused; nothing answers a datagram: closed', async () => {
  expect(await asked(attempt({ port: 9 }))).toEqual([['rejected', undefined, 'ECONNREFUSED']]);
  // A bound port that never answers.
  const mute = createSocket('udp4');
  await new Promise<void>((resolve) => mute.bind(0, '127.0.0.1', resolve));
  expect(await asked(attempt({ port: mute.address().port, protocol: 'UDP' }))).toEqual([
    ['closed', undefined, 'ETIMEDOUT'],
  ]);
  mute.close();
});
