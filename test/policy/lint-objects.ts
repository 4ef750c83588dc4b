import { worldManifests } from './world.ts';
import { stateOfManifests } from '../../core/view/from-manifests.ts';
import type { Raw } from '../../core/read/objects.ts';
import { viewOf } from '../../core/view/view.ts';
import type { Finding } from '../../core/lint/finding.ts';
import { lint } from '../../core/lint/lint.ts';

export const np = (name: string, spec: object): Raw => ({
  kind: 'NetworkPolicy',
  metadata: { name, namespace: 'x' },
  spec,
});
export const cnp = (name: string, spec: object): Raw => ({
  kind: 'ClusterNetworkPolicy',
  metadata: { name },
  spec: { tier: 'Admin', priority: 1, subject: { namespaces: {} }, ...spec },
});
export const all = (...objects: Raw[]): Finding[] => {
  const input = [...worldManifests(), ...objects];
  return lint(viewOf(stateOfManifests(input)), { others: input });
};
export const found = (...objects: Raw[]): string[] =>
  all(...objects)
    .filter((f) => f.severity !== 'info')
    .map((f) => `${f.code} ${f.policy} ${f.path}`);
/** With the severity, and what it says. */
export const said = (...objects: Raw[]): string[] =>
  all(...objects).map((f) => `${f.severity} ${f.code} ${f.path}: ${f.message}`);
export const pod = (name: string, labels: object, spec: object = {}, status: object = {}, namespace = 'x'): Raw => ({
  kind: 'Pod',
  metadata: { name, namespace, labels },
  spec: { containers: [], ...spec },
  status,
});
export const service = (name: string, spec: object): Raw => ({
  kind: 'Service',
  metadata: { name, namespace: 'x' },
  spec,
});
export const slice = (name: string, port: number, ...pods: string[]): Raw => ({
  kind: 'EndpointSlice',
  metadata: { name: `${name}-1`, namespace: 'x', labels: { 'kubernetes.io/service-name': name } },
  addressType: 'IPv4',
  ports: [{ name: 'h', port, protocol: 'TCP' }],
  endpoints: pods.map((p, i) => ({
    addresses: [`10.9.9.${i + 1}`],
    targetRef: { kind: 'Pod', namespace: 'x', name: p },
  })),
});
export const DNS = { ports: [{ protocol: 'UDP', port: 53 }] };
export const egress = (...rules: object[]): object => ({
  podSelector: {},
  policyTypes: ['Egress'],
  egress: [...rules, DNS],
});
export const ingress = (...rules: object[]): object => ({ podSelector: {}, ingress: rules });
export const A = { podSelector: { matchLabels: { pod: 'a' } } };
