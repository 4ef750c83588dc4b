import { pod } from './lab.ts';

/** The port of node n1 that changes its owner in these tests. */
export const HOST_PORT = 5353;
/** Addresses of node n1. */
export const NODE = { 4: '192.0.2.11', 6: '2001:db8:2::11' } as const;

/** A pod on n1 to which the host port leads. */
export const withHostPort = (ns: string, name: string): string =>
  pod(ns, name, {
    node: 'n1',
    container: { ports: [{ containerPort: 5353, protocol: 'UDP', hostPort: HOST_PORT }] },
  });

/** A process of n1 itself that listens on the port. */
export const onHost = (ns: string, name: string): string => {
  const made = JSON.parse(withHostPort(ns, name)) as { spec: object };
  return JSON.stringify({ ...made, spec: { ...made.spec, hostNetwork: true } });
};

export const namespaceOf = (name: string, isolated: boolean): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels: isolated ? { 'bulkhead.dev/isolated': 'true' } : {} },
  });
