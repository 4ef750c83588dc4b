import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { makeAuthority, issueServer } from '../lib/pki/certificates.ts';
import { type EchoPort, startEcho } from './node/echo.ts';

/**
 * A container that stands for another: answers on the ports of BULKHEAD_PORTS ("8080,5353/udp") as pods of the lab do, with who
 * it is. `make kind` builds images with it under the names that example manifests use.
 */

const ports = (process.env['BULKHEAD_PORTS'] ?? '').split(',').flatMap((text): EchoPort[] => {
  const [, port, protocol = 'tcp'] = /^(\d+)(?:\/(tcp|udp))?$/.exec(text.trim()) ?? [];
  return port === undefined ? [] : [{ port: Number(port), protocol: protocol === 'udp' ? 'UDP' : 'TCP' }];
});

function namespace(): string {
  try {
    return readFileSync('/var/run/secrets/kubernetes.io/serviceaccount/namespace', 'utf8').trim();
  } catch {
    return process.env['POD_NAMESPACE'] ?? '';
  }
}

const authority = await makeAuthority('stand-in');
const tls = await issueServer(authority, hostname(), [hostname()]);
const who = {
  namespace: namespace(),
  name: process.env['POD_NAME'] ?? hostname(),
  node: process.env['NODE_NAME'] ?? '',
};
for (const port of ports) startEcho(undefined, port, who, tls);
console.log(JSON.stringify({ ...who, ports: ports.map((p) => `${p.port}/${p.protocol}`) }));
// The first process of a container gets no default action for signals.
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(0));
setInterval(() => undefined, 1 << 30);
