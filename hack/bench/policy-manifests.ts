type Raw = Readonly<Record<string, unknown>>;

/**
 * Manifests as a large company might keep them, the same each time: per namespace 50 Deployments, each with labels and a port of its
 * own, and 49 NetworkPolicies of the kinds that people write. 50 namespaces are 5 000 objects.
 */
export function policyManifests(namespaces: number): Raw[] {
  return Array.from({ length: namespaces }, (_, i) => namespaceOf(i, namespaces)).flat();
}

const WORKLOADS = 50;

function namespaceOf(i: number, count: number): Raw[] {
  const namespace = `team-${i}`;
  return [
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: namespace, labels: { team: `t${i}`, tier: `tier-${i % 5}` } },
    },
    ...Array.from({ length: WORKLOADS }, (_, j) => deployment(namespace, j)),
    ...Array.from({ length: WORKLOADS - 1 }, (_, j) => policy(namespace, j, `team-${(i + j) % count}`)),
  ];
}

const deployment = (namespace: string, j: number): Raw => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: `app-${j}`, namespace },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: `app-${j}` } },
    template: {
      metadata: { labels: { app: `app-${j}`, part: `part-${j % 7}` } },
      spec: {
        containers: [{ name: 'main', image: 'example/app', ports: [{ name: 'http', containerPort: 8000 + j }] }],
      },
    },
  },
});

const DNS = { to: [{ namespaceSelector: {} }], ports: [{ protocol: 'UDP', port: 53 }] };

function policy(namespace: string, j: number, other: string): Raw {
  const own = { podSelector: { matchLabels: { app: `app-${j + 1}` } } };
  const team = { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': other } } };
  const spec = [
    { policyTypes: ['Ingress'], ingress: [{ from: [own], ports: [{ port: 8000 + j }] }] },
    { policyTypes: ['Ingress'], ingress: [{ from: [own, team], ports: [{ port: 'http' }] }] },
    {
      policyTypes: ['Ingress', 'Egress'],
      ingress: [{ from: [{ namespaceSelector: { matchLabels: { tier: `tier-${j % 5}` } } }] }],
      egress: [DNS, { to: [team], ports: [{ port: 8000 + j }] }],
    },
    {
      policyTypes: ['Egress'],
      egress: [DNS, { to: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/8', '192.168.0.0/16'] } }] }],
    },
    {
      policyTypes: ['Ingress'],
      ingress: [{ from: [{ namespaceSelector: {} }], ports: [{ port: 8000 + j }, { port: 9090 }] }],
    },
  ][j % 5];
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: `app-${j}`, namespace },
    spec: { podSelector: { matchLabels: { app: `app-${j}` } }, ...spec },
  };
}
