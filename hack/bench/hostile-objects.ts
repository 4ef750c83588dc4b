export type Manifest = Record<string, unknown>;

export type Hostile = { readonly name: string; readonly objects: readonly Manifest[]; readonly flat?: true };

/** The largest objects that a tenant may store, and many that are just within their budgets. */
export function hostileObjects(): Hostile[] {
  return [{ name: 'nothing: pods of the neighbour alone', objects: tenant([]) }, ...tooLarge(), ...withinBudgets()];
}

function tooLarge(): Hostile[] {
  return [
    { name: 'a pod with 32 000 open ports', objects: tenant([pod('wide', openings(ports(32_000), '*'))]) },
    {
      name: 'a pod with 125 000 interfaces',
      objects: tenant([pod('many', { 'k8s.v1.cni.cncf.io/networks': list(125_000, () => 'a') })]),
    },
    { name: 'a NetworkPolicy with 15 000 ports', objects: tenant([...web(), policy('ports', { ports: tcp(15_000) })]) },
    {
      name: 'a NetworkPolicy with 2 000 CIDRs × 2 000 ports',
      objects: tenant([...web(), policy('grid', { from: cidrs(2_000), ports: tcp(2_000) })]),
    },
  ];
}

function withinBudgets(): Hostile[] {
  const rows: Hostile[] = [
    {
      name: '50 NetworkPolicies with 100 CIDRs × 40 ports',
      objects: tenant([...web(), ...each(50, (i) => policy(`p${i}`, { from: cidrs(100, i), ports: tcp(40, i) }))]),
    },
    {
      name: '50 pods with 32 open ports to 16 namespaces',
      objects: tenant(
        each(50, (i) =>
          pod(
            `open${i}`,
            openings(
              ports(32),
              list(16, (n) => `ns${n}`),
            ),
          ),
        ),
      ),
    },
    {
      name: '20 NetworkPolicies with 100 CIDRs × 40 ports',
      objects: tenant([...web(), ...each(20, (i) => policy(`p${i}`, { from: cidrs(100, i), ports: tcp(40, i) }))]),
    },
    {
      name: '32 NetworkPolicies with 128 rules',
      objects: tenant([
        ...web(),
        ...each(32, (i) =>
          rules(
            `p${i}`,
            each(128, (r) => ({ ports: [{ protocol: 'TCP', port: 1 + i * 256 + 2 * r }] })),
          ),
        ),
      ]),
    },
    {
      name: '8 NetworkPolicies with 120 exceptions',
      objects: tenant([
        ...web(),
        ...each(8, (i) =>
          policy(`p${i}`, {
            from: each(2, (n) => ({
              ipBlock: {
                cidr: `${20 + i * 2 + n}.0.0.0/8`,
                except: each(60, (h) => `${20 + i * 2 + n}.${4 * h + 1}.0.0/16`),
              },
            })),
          }),
        ),
      ]),
    },
    {
      name: '3 000 tiny NetworkPolicies',
      objects: tenant([...web(), ...each(3_000, (i) => policy(`t${i}`, { ports: tcp(1, i) }))]),
    },
    {
      name: '20 Services with 250 ports',
      objects: tenant([
        ...each(3, (i) => pod(`web${i}`, {}, `n${i + 1}`, { app: 'web' })),
        ...each(20, (i) => service(`s${i}`, 250)),
      ]),
    },
    {
      name: '4 Services with 250 ports and affinity',
      objects: tenant([
        ...each(3, (i) => pod(`web${i}`, {}, `n${i + 1}`, { app: 'web' })),
        ...each(4, (i) => service(`s${i}`, 250, { sessionAffinity: 'ClientIP' })),
      ]),
    },
  ];
  // What is in the root, all flat pods share.
  const inRoot = rows.filter((r) => r.name.includes('NetworkPolicies'));
  return [
    ...rows,
    ...inRoot.map(({ name, objects }) => ({ name: `${name}, flat`, objects: flat(objects), flat: true as const })),
  ];
}

const flat = (objects: readonly Manifest[]): Manifest[] =>
  objects.map((o) => (o['kind'] === 'Namespace' ? { ...o, metadata: { name: NAMESPACE } } : o));

const service = (name: string, count: number, more: object = {}): Manifest => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: NAMESPACE },
  spec: {
    ...more,
    selector: { app: 'web' },
    ports: each(count, (i) => ({ name: `p${i}`, port: 1_000 + i, targetPort: 8080 })),
  },
});

const NAMESPACE = 'hostile';

const each = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
const list = (count: number, make: (i: number) => string): string => each(count, make).join(',');
const ports = (count: number): string => list(count, (i) => String(1 + 2 * i));
const openings = (of: string, to: string): Record<string, string> => ({
  'bulkhead.dev/open-ports': of,
  'bulkhead.dev/open-to': to,
});
const tcp = (count: number, seed = 0): object[] =>
  each(count, (i) => ({ protocol: 'TCP', port: 1 + 4 * i + (seed % 2) * 2 }));
const cidrs = (count: number, seed = 0): object[] =>
  each(count, (i) => ({ ipBlock: { cidr: `${20 + (seed % 100)}.${i >> 8}.${i & 255}.0/24` } }));

const tenant = (objects: readonly Manifest[]): Manifest[] => [
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, labels: { 'bulkhead.dev/isolated': 'true' } } },
  ...objects,
];

const pod = (name: string, annotations: Record<string, string> = {}, node = 'n1', labels: object = {}): Manifest => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: NAMESPACE, annotations, labels },
  spec: { nodeSelector: { 'kubernetes.io/hostname': node }, containers: [{ name: 'c', image: 'x' }] },
});

/** A pod on each node. */
const web = (): Manifest[] => each(3, (i) => pod(`web${i}`, {}, `n${i + 1}`));

const policy = (name: string, rule: object): Manifest => rules(name, [rule]);
const rules = (name: string, ingress: readonly object[]): Manifest => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name, namespace: NAMESPACE },
  spec: { podSelector: {}, policyTypes: ['Ingress'], ingress },
});
