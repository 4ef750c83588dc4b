import { createSocket } from 'node:dgram';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer as createHttp2Server } from 'node:http2';
import { createServer, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { WHO_ARE_YOU } from '../../lib/connect/who-are-you.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { openNetlink } from '../../lib/netlink/netlink.ts';
import { listenIn } from '../../lib/netns/listen.ts';

/** Who answers. Sent back to the client, so that a test knows that it reached the right one. */
export type Identity = { readonly namespace: string; readonly name: string; readonly node: string };

export type EchoPort = { readonly protocol: 'TCP' | 'UDP'; readonly port: number };

export type EchoServer = { readonly close: () => void };

/**
 * Answers on a port in a namespace. One TCP port speaks HTTP/1 (200 and who answers), TLS with the same inside, HTTP/2 with
 * gRPC's health service, and gives everything else back as it came: the first bytes tell.
 */
export function startEcho(
  netns: string | undefined,
  { protocol, port }: EchoPort,
  who: Identity,
  tls: { readonly cert: string; readonly key: string },
): EchoServer {
  return protocol === 'UDP' ? udpEcho(netns, port, who) : tcpEcho(netns, port, who, tls);
}

function tcpEcho(
  netns: string | undefined,
  port: number,
  who: Identity,
  tls: { readonly cert: string; readonly key: string },
): EchoServer {
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    response.setHeader('content-type', 'application/json');
    response.end(
      `${JSON.stringify({ ...who, port, client: bare(request.socket.remoteAddress), path: request.url })}\n`,
    );
  };
  const http = createHttpServer(answer);
  const https = createHttpsServer(tls, answer);
  const http2 = createHttp2Server();
  http2.on('stream', (stream) => {
    stream.on('error', () => undefined);
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(Buffer.from([0, 0, 0, 0, 2, 8, 1])); // HealthCheckResponse { status: SERVING }
  });
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.once('data', (first: Buffer) => {
      const head = first.toString('latin1', 0, 8);
      if (first[0] === 0x16) handOver(https, socket, first);
      else if (head.startsWith('PRI * HT')) handOver(http2, socket, first);
      else if (/^(GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH) /.test(head)) handOver(http, socket, first);
      else {
        socket.write(first);
        socket.pipe(socket);
      }
    });
  });
  server.on('error', () => undefined);
  server.listen({ fd: listenIn(netns, 'tcp', '::', port) });
  return {
    close: () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

function handOver(server: { emit: (event: string, stream: Duplex) => boolean }, socket: Socket, first: Buffer): void {
  server.emit('connection', new Replayed(socket, first));
}

/**
 * A connection whose first bytes were read already. TLS and HTTP/2 take bytes from a socket's handle, past anything put
 * back into the stream, so they get a stream that has no handle.
 */
class Replayed extends Duplex {
  readonly #socket: Socket;
  readonly remoteAddress: string | undefined;

  constructor(socket: Socket, first: Buffer) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    this.remoteAddress = socket.remoteAddress;
    this.push(first);
    socket.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) socket.pause();
    });
    socket.on('end', () => this.push(null));
    socket.on('close', () => this.destroy());
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(() => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }
}

/**
 * On each address by itself where there are several: a socket for all addresses answers with the address of the way back, and a
 * client of another interface would not know it. Programs that serve datagrams on several interfaces do the same.
 */
function udpEcho(netns: string | undefined, port: number, who: Identity): EchoServer {
  const sockets = ['::', ...severalAddresses(netns)].map((ip) => {
    const socket = createSocket(ip.includes(':') ? 'udp6' : 'udp4');
    socket.on('error', () => undefined);
    socket.on('message', (data, from) => {
      const reply =
        data.toString() === WHO_ARE_YOU
          ? Buffer.from(JSON.stringify({ ...who, port, client: bare(from.address) }))
          : data;
      socket.send(reply, from.port, from.address);
    });
    socket.bind({ fd: listenIn(netns, 'udp', ip, port) });
    return socket;
  });
  return { close: () => sockets.forEach((s) => s.close()) };
}

/** The addresses of a namespace with more than one of a family; none where there is nothing to choose. */
function severalAddresses(netns: string | undefined): string[] {
  if (netns === undefined) return [];
  using netlink = openNetlink(netns);
  const all = netlink.addresses().filter((a) => a.scope === 'global' && a.dev !== 'lo');
  const ips = all.map((a) => a.cidr.split('/')[0] ?? '').filter((ip) => !ip.startsWith('fe80:'));
  return [4, 6].some((f) => ips.filter((ip) => familyOf(ip) === f).length > 1) ? ips : [];
}

/** Without the prefix of an IPv4 address on an IPv6 socket. */
const bare = (address: string | undefined): string => (address ?? '').replace(/^::ffff:/, '');
