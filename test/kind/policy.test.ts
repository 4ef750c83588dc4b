import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  apply,
  bulkhead,
  deleteNamespaces,
  eventually,
  families,
  flatNamespace,
  fromPodToAll,
  get,
  ipOf,
  isolatedNamespace,
  kubectl,
  pod,
  ready,
  standIn,
  workers,
} from './cluster.ts';

// Policies on a real API server and real kubelets: on the flat network and on an isolated one, on both nodes. What others test of
// policies is in hack/kind/policy-suites.sh.

const NAMESPACES = ['p-iso', 'p-flat'];

beforeAll(async () => {
  const [one, two] = await workers();
  await apply(
    [
      isolatedNamespace('p-iso'),
      flatNamespace('p-flat'),
      ...NAMESPACES.flatMap((ns) => [
        standIn(ns, 'db', { node: one }),
        standIn(ns, 'near', { node: one }),
        standIn(ns, 'far', { node: two }),
      ]),
    ].join('\n'),
  );
  await ready(...NAMESPACES);
}, 180_000);
afterAll(async () => {
  await kubectl(['delete', 'clusternetworkpolicy', 'p-guard', '--ignore-not-found']);
  await deleteNamespaces(...NAMESPACES);
});

const policy = (namespace: string, name: string, spec: string): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: ${name}, namespace: ${namespace} }
spec: ${spec}
---`;

/** What near and far reach at db: TCP and UDP, each family. */
async function reach(ns: string): Promise<Record<string, string[]>> {
  const [db, near, far] = await Promise.all(['db', 'near', 'far'].map((app) => pod(ns, `app=${app}`)));
  if (!db || !near || !far) throw new Error(`${ns} lacks a pod`);
  const targets = families.flatMap((family) => [
    { address: ipOf(db, family), port: 5432, protocol: 'TCP' as const },
    { address: ipOf(db, family), port: 5353, protocol: 'UDP' as const },
  ]);
  const [nears, fars] = await Promise.all([fromPodToAll(near, targets), fromPodToAll(far, targets)]);
  return { near: nears ?? [], far: fars ?? [] };
}

const all = (near: string, far: string): Record<string, string[]> => ({
  near: families.flatMap(() => [near, near]),
  far: families.flatMap(() => [far, far]),
});
const becomes = (ns: string, wanted: Record<string, string[]>): Promise<true> =>
  eventually(
    `${ns} ${JSON.stringify(wanted)}`,
    async () => (JSON.stringify(await reach(ns)) === JSON.stringify(wanted) ? true : undefined),
    40_000,
  );

describe('policies on a real cluster', () => {
  test('default deny, an allow list, and an administrator who overrules both; probes go on', async () => {
    for (const ns of NAMESPACES) {
      await becomes(ns, all('open', 'open'));
      await apply(policy(ns, 'deny', '{ podSelector: { matchLabels: { app: db } } }'));
      await becomes(ns, all('closed', 'closed'));
      await apply(
        policy(
          ns,
          'far',
          '{ podSelector: { matchLabels: { app: db } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: far } } }] }] }',
        ),
      );
      await becomes(ns, all('closed', 'open'));
    }
    await apply(`
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: p-guard }
spec:
  tier: Admin
  priority: 900
  subject: { namespaces: { matchExpressions: [{ key: kubernetes.io/metadata.name, operator: In, values: [p-iso, p-flat] }] } }
  ingress:
    - { name: near may, action: Accept, from: [{ pods: { podSelector: { matchLabels: { app: near } } } }] }
    - { name: far may not, action: Deny, from: [{ pods: { podSelector: { matchLabels: { app: far } } } }] }
---`);
    for (const ns of NAMESPACES) await becomes(ns, all('open', 'closed'));
    const { conditions } = (await get('clusternetworkpolicy', 'p-guard'))['status'] as {
      conditions: { type: string; reason: string }[];
    };
    expect(conditions).toMatchObject([{ type: 'bulkhead.dev/Accepted', reason: 'Accepted' }]);
    // The kubelet still probes: nobody was restarted or taken out of service.
    for (const ns of NAMESPACES) await ready(ns);
  });

  test('explain says what packets do and by which rule; drops and revocations are told', async () => {
    const explained = JSON.parse(await bulkhead(['explain', 'p-iso/far', 'p-iso/db:5432', '-o', 'json'], [3])) as {
      verdict: string;
      ingress: object[];
    };
    expect(explained).toMatchObject({
      verdict: 'Deny',
      ingress: [
        { tier: 'Admin', policy: 'ClusterNetworkPolicy p-guard', rule: 'far may not', action: 'Deny', decides: true },
      ],
    });
    await reach('p-iso');
    const drops = await eventually('a record of a drop', async () => {
      const text = await bulkhead(['drops', '-n', 'p-iso', '-o', 'json'], [0]);
      return text.includes('"rule":"far may not"') ? text : undefined;
    });
    expect(drops).toContain(
      '"from":"p-iso/far","to":"p-iso/db","fromServiceAccount":"default","toServiceAccount":"default"',
    );
  });
});
