import { describe, expect, test } from 'vitest';
import { PodPairs } from '../core/decide/pod-pairs.ts';
import { lint } from '../core/lint/lint.ts';
import { stateOfManifests } from '../core/view/from-manifests.ts';
import { viewOf } from '../core/view/view.ts';
import { policyManifests } from '../hack/bench/policy-manifests.ts';
import { countWork } from './work.ts';

// What is made four times as large is at most some more than four times the work: see work.test.ts.

const MOST = 6;
const each = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
const cidr = (i: number): string => `20.${i >> 8}.${i & 255}.0/24`;

/** Worlds for `bulkhead policy lint`, each of as many namespaces as there are. */
const LINTED: Readonly<Record<string, (n: number) => unknown[]>> = {
  'a company': (n) => policyManifests(Math.ceil(n / 50)),
  'policies of one namespace': (n) => [
    ...each(n, (i) => workload('a', i)),
    ...each(n, (i) => netpol('a', i, { ingress: [{ from: [{ podSelector: app(i + 1) }], ports: [{ port: 80 }] }] })),
  ],
  'each names every pod': (n) => [
    ...each(n, (i) => workload(`n${i}`, i)),
    ...each(n, (i) =>
      netpol(`n${i}`, i, {
        ingress: [{ from: [{ namespaceSelector: {} }], ports: [{ port: 'http' }] }, { from: [{ podSelector: {} }] }],
        egress: [
          { to: [{ namespaceSelector: {} }], ports: [{ port: 'http' }] },
          { to: [{ ipBlock: { cidr: cidr(i) } }] },
        ],
      }),
    ),
  ],
  'each names nothing that there is': (n) => [
    ...each(n, (i) => workload(`n${i}`, i)),
    ...each(n, (i) =>
      netpol(`n${i}`, i + 1, {
        ingress: [{ from: [{ namespaceSelector: {}, podSelector: app(n + i) }, { namespaceSelector: app(i) }] }],
      }),
    ),
  ],
  'rules of a policy': (n) => [
    ...each(n / 4, (i) => workload('a', i)),
    netpol('a', 0, { ingress: each(n / 4, (i) => ({ from: [{ podSelector: app(i) }], ports: [{ port: 1 + i }] })) }),
  ],
  'policies for the cluster': (n) => [
    ...each(n, (i) => workload(`n${i}`, i)),
    ...each(n / 4, (i) => ({
      kind: 'ClusterNetworkPolicy',
      metadata: { name: `c${i}` },
      spec: {
        tier: 'Admin',
        priority: i,
        subject: { namespaces: { matchLabels: { 'kubernetes.io/metadata.name': `n${i}` } } },
        egress: [{ action: 'Deny', to: [{ networks: [cidr(i)] }] }],
      },
    })),
  ],
};

const app = (i: number): object => ({ matchLabels: { app: `app-${i}` } });
const workload = (namespace: string, i: number): object => ({
  kind: 'Pod',
  metadata: { namespace, name: `app-${i}`, labels: { app: `app-${i}` } },
  spec: { containers: [{ ports: [{ name: 'http', containerPort: 8_000 + (i % 50) }] }] },
});
const netpol = (namespace: string, i: number, spec: object): object => ({
  kind: 'NetworkPolicy',
  metadata: { namespace, name: `p-${i}` },
  spec: { podSelector: app(i), ...spec },
});

describe('lint', () => {
  test.each(Object.entries(LINTED))('%s', async (_, make) => {
    const run = (objects: unknown[]) => {
      const view = viewOf(stateOfManifests(objects as Record<string, unknown>[]));
      return () => void lint(view, { others: objects as Record<string, unknown>[] });
    };
    run(make(40))();
    const few = await countWork(run(make(100)));
    const many = await countWork(run(make(400)));
    expect(many / few).toBeLessThan(MOST);
  });
});

test('explain --all: to ask about a pair costs the same in a cluster four times as large', async () => {
  const ask = (n: number) => {
    const view = viewOf(stateOfManifests(policyManifests(n)));
    const pairs = new PodPairs(view);
    const pods = [...view.state.pods.values()];
    return () => {
      for (const pod of pods)
        for (const address of pod.ips.slice(0, 1))
          for (const from of pods) pairs.ask(from, { pod, address }, { port: 8_000, protocol: 'TCP' });
    };
  };
  ask(1)();
  const few = await countWork(ask(1));
  const many = await countWork(ask(4));
  expect(many / few / 16).toBeLessThan(1.2);
});
