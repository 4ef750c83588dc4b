import { request as httpRequest } from 'node:http';
import { connect as http2Connect } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { arr, at, type Json, num, obj, str } from '../apiserver/model/path.ts';

/** Why a probe failed; undefined: it passed. */
export type ProbeResult = string | undefined;

/** Runs a probe once, as a real connection from this node to the pod's own address. */
export async function runProbe(probe: Json, container: Json, podIp: string): Promise<ProbeResult> {
  const timeout = (num(probe['timeoutSeconds']) || 1) * 1000;
  if (probe['httpGet'] !== undefined) return await httpProbe(obj(probe['httpGet']), container, podIp, timeout);
  if (probe['tcpSocket'] !== undefined)
    return await tcpProbe(
      str(at(probe, 'tcpSocket', 'host')) || podIp,
      portOf(at(probe, 'tcpSocket', 'port'), container),
      timeout,
    );
  if (probe['grpc'] !== undefined)
    return await grpcProbe(podIp, num(at(probe, 'grpc', 'port')), str(at(probe, 'grpc', 'service')), timeout);
  return undefined; // exec: no container runs here
}

/** Whether a probe can only be taken as passed. */
export const isAssumed = (probe: Json): boolean => probe['exec'] !== undefined;

function httpProbe(get: Json, container: Json, podIp: string, timeout: number): Promise<ProbeResult> {
  const https = str(get['scheme']).toUpperCase() === 'HTTPS';
  const options = {
    host: str(get['host']) || podIp,
    port: portOf(get['port'], container),
    path: str(get['path']) || '/',
    timeout,
    headers: Object.fromEntries(arr(get['httpHeaders']).map((h) => [str(h['name']), str(h['value'])])),
    agent: false as const,
    rejectUnauthorized: false, // as kubelet: a probe asks whether it answers, not who
  };
  return new Promise((resolve) => {
    const request = (https ? httpsRequest : httpRequest)(options, (response) => {
      response.resume();
      const { statusCode = 0 } = response;
      resolve(statusCode >= 200 && statusCode < 400 ? undefined : `HTTP probe failed with statuscode: ${statusCode}`);
    });
    request.on('timeout', () => request.destroy(new Error('time-out')));
    request.on('error', (e: Error) => resolve(`${https ? 'HTTPS' : 'HTTP'} probe failed: ${e.message}`));
    request.end();
  });
}

function tcpProbe(host: string, port: number, timeout: number): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout });
    const done = (result: ProbeResult): void => {
      socket.destroy();
      resolve(result);
    };
    socket.on('connect', () => done(undefined));
    socket.on('timeout', () => done('TCP probe failed: time-out'));
    socket.on('error', (e) => done(`TCP probe failed: ${e.message}`));
  });
}

/** grpc.health.v1.Health/Check over clear-text HTTP/2. */
function grpcProbe(host: string, port: number, service: string, timeout: number): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const session = http2Connect(`http://${host.includes(':') ? `[${host}]` : host}:${port}`);
    const done = (result: ProbeResult): void => {
      clearTimeout(timer);
      session.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => done('gRPC probe failed: time-out'), timeout);
    session.on('error', (e: Error) => done(`gRPC probe failed: ${e.message}`));
    const name = Buffer.from(service);
    const message = name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a, name.length]), name]);
    const frame = Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/grpc.health.v1.Health/Check',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const chunks: Buffer[] = [];
    let status: unknown;
    stream.on('data', (d: Buffer) => chunks.push(d));
    stream.on('trailers', (t) => (status = t['grpc-status']));
    stream.on('error', (e: Error) => done(`gRPC probe failed: ${e.message}`));
    stream.on('end', () => {
      const serving = Buffer.concat(chunks)
        .subarray(5)
        .equals(Buffer.from([8, 1]));
      done(serving && Number(status) === 0 ? undefined : `gRPC probe failed: status ${String(status)}, not serving`);
    });
    stream.end(frame);
  });
}

function portOf(port: unknown, container: Json): number {
  if (typeof port === 'number') return port;
  const named = arr(container['ports']).find((p) => p['name'] === port);
  return num(named?.['containerPort']) || Number(port) || 0;
}
