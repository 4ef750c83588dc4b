/** The pods on which policies are tried: namespaces x, y, z, each with a (on n1), b (on n2) and c (on n1). */

export const NAMESPACES = ['x', 'y', 'z'] as const;
const PODS = [
  { name: 'a', node: 'n1', labels: {}, serviceAccountName: 'default' },
  { name: 'b', node: 'n2', labels: {}, serviceAccountName: 'robot' },
  // Only says that it is one.
  { name: 'c', node: 'n1', labels: { 'bulkhead.dev/service-account': 'robot' }, serviceAccountName: 'default' },
] as const;
const NODES = ['n1', 'n2'] as const;

type Raw = Record<string, unknown>;

/** "web" is 80 with a and b, and 81 with c; "alt" the other one. */
function ports(pod: string): object[] {
  const [web, alt] = pod === 'c' ? [81, 80] : [80, 81];
  return [
    { name: 'web', containerPort: web },
    { name: 'alt', containerPort: alt },
    { name: 'dgram', containerPort: 80, protocol: 'UDP' },
    { containerPort: 81, protocol: 'UDP' },
  ];
}

/** Objects for an API server. `network`: all pods on that one instead of the flat network. */
export function worldManifests(network?: string): Raw[] {
  return NAMESPACES.flatMap((ns): Raw[] => [
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: {
        name: ns,
        labels: { ns, 'kubernetes.io/metadata.name': ns },
        ...(network === undefined ? {} : { annotations: { 'bulkhead.dev/network': network } }),
      },
    },
    ...PODS.map(({ name, node, labels, serviceAccountName }) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: ns, labels: { pod: name, ...labels } },
      spec: {
        serviceAccountName,
        nodeSelector: { 'kubernetes.io/hostname': node },
        containers: [{ name: 'c', image: 'x', ports: ports(name) }],
      },
    })),
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'svc-b', namespace: ns },
      spec: {
        ipFamilyPolicy: 'PreferDualStack',
        selector: { pod: 'b' },
        ports: [{ name: 'h', port: 8000, targetPort: 'web' }],
      },
    },
  ]);
}

/** The same pods as a cluster would tell of them: x is .1x, y .2x, z .3x. */
export function runningPods(): Raw[] {
  return NAMESPACES.flatMap((ns, i) =>
    PODS.map(({ name, node, labels, serviceAccountName }, j) => {
      const n = NODES.indexOf(node) + 1;
      const host = 16 * (i + 1) + j;
      return {
        metadata: { name, namespace: ns, uid: `${ns}-${name}`, labels: { pod: name, ...labels } },
        spec: { nodeName: node, serviceAccountName, containers: [{ name: 'c', ports: ports(name) }] },
        status: {
          phase: 'Running',
          podIPs: [{ ip: `10.244.${n}.${host}` }, { ip: `fd00:10:244:${n}::${host.toString(16)}` }],
          conditions: [{ type: 'Ready', status: 'True' }],
        },
      };
    }),
  );
}
