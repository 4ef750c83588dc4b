import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NAMESPACES, runningPods } from '../../test/policy/world.ts';
import type { Protocol } from '../../api/nodeconfig.ts';
import { exampleNamespace, exampleState } from '../cluster/example.ts';
import { policyKey } from '../cluster/policy.ts';
import { keyOf, type Pod } from '../cluster/state.ts';
import { evaluate } from '../policy/evaluate.ts';
import { indexPolicies } from '../policy/index.ts';
import { translateAdminNetworkPolicy } from './admin-network-policy.ts';
import { readPod } from './objects.ts';
import { parsePolicy } from './policy.ts';

// What the specification of AdminNetworkPolicy (v1alpha1) says, held against what its translation means.

const pods = runningPods().map(readPod);
const OUTSIDE = '203.0.113.10';

type Selector = { readonly matchLabels?: Readonly<Record<string, string>> };
type Peer = {
  readonly namespaces?: Selector;
  readonly pods?: { readonly namespaceSelector: Selector; readonly podSelector: Selector };
  readonly networks?: readonly string[];
};
type Ported = {
  readonly portNumber?: { readonly protocol?: Protocol; readonly port: number };
  readonly portRange?: { readonly protocol?: Protocol; readonly start: number; readonly end: number };
  readonly namedPort?: string;
};
type Rule = {
  readonly name?: string;
  readonly action: 'Allow' | 'Deny' | 'Pass';
  readonly peers: readonly Peer[];
  readonly ports?: readonly Ported[];
};
type Admin = {
  readonly priority?: number;
  readonly subject: Peer;
  readonly ingress: readonly Rule[];
  readonly egress: readonly Rule[];
};

const manifestOf = (name: string, { priority, subject, ingress, egress }: Admin): Record<string, unknown> => ({
  apiVersion: 'policy.networking.k8s.io/v1alpha1',
  kind: priority === undefined ? 'BaselineAdminNetworkPolicy' : 'AdminNetworkPolicy',
  metadata: { name },
  spec: {
    ...(priority === undefined ? {} : { priority }),
    subject,
    ingress: ingress.map(({ peers, ...rest }) => ({ ...rest, from: peers })),
    egress: egress.map(({ peers, ...rest }) => ({ ...rest, to: peers })),
  },
});

type Flow = { readonly from: Pod; readonly to: Pod | undefined; readonly protocol: Protocol; readonly port: number };

/** The specification, as plainly as it can be written. */
function expected(admins: readonly Admin[], baseline: Admin | undefined, flow: Flow): 'Accept' | 'Deny' {
  const sides = [
    { direction: 'egress' as const, own: flow.from, other: flow.to },
    ...(flow.to ? [{ direction: 'ingress' as const, own: flow.to, other: flow.from }] : []),
  ];
  const denied = sides.some(({ direction, own, other }) => {
    const actionOf = (all: readonly Admin[]): Rule['action'] | undefined =>
      all
        .filter(({ subject }) => isPeer(subject, own))
        .flatMap((p) => p[direction])
        .find((r) => r.peers.some((p) => isPeer(p, other)) && isPort(r.ports, flow))?.action;
    const first = actionOf([...admins].sort((a, b) => (a.priority ?? 0) - (b.priority ?? 0)));
    return first === 'Deny' || (first !== 'Allow' && actionOf(baseline ? [baseline] : []) === 'Deny');
  });
  return denied ? 'Deny' : 'Accept';
}

const has = (selector: Selector, labels: Readonly<Record<string, string>>): boolean =>
  Object.entries(selector.matchLabels ?? {}).every(([k, v]) => labels[k] === v);

function isPeer({ namespaces, pods: some, networks }: Peer, pod: Pod | undefined): boolean {
  if (networks) return networks.some((n) => (pod ? pod.ips.some((ip) => n === `${ip}/32`) : n === `${OUTSIDE}/32`));
  if (!pod) return false;
  if (namespaces) return has(namespaces, { ns: pod.namespace });
  return has(some?.namespaceSelector ?? {}, { ns: pod.namespace }) && has(some?.podSelector ?? {}, pod.labels);
}

const isPort = (ports: readonly Ported[] | undefined, { protocol, port, to }: Flow): boolean =>
  ports === undefined ||
  ports.length === 0 ||
  ports.some(({ portNumber, portRange, namedPort }) => {
    if (portNumber) return (portNumber.protocol ?? 'TCP') === protocol && portNumber.port === port;
    if (portRange)
      return (portRange.protocol ?? 'TCP') === protocol && portRange.start <= port && port <= portRange.end;
    return to?.ports.some((p) => p.name === namedPort && p.port === port && p.protocol === protocol) === true;
  });

const policiesOf = (manifests: readonly Record<string, unknown>[]) =>
  manifests.flatMap((m) => {
    const { policies, problems } = translateAdminNetworkPolicy(m);
    expect(problems).toEqual([]);
    return policies.map((raw) => {
      const policy = parsePolicy(raw);
      if (!policy) throw new Error('it is no policy');
      expect(policy.problems).toEqual([]);
      return policy;
    });
  });

function expectSame(admins: readonly Admin[], baseline?: Admin): void {
  const manifests = [
    ...admins.map((a, i) => manifestOf(`a${i}`, a)),
    ...(baseline ? [manifestOf('default', baseline)] : []),
  ];
  const state = exampleState({
    namespaces: new Map(NAMESPACES.map((ns) => [ns, exampleNamespace(ns, { ns })])),
    pods: new Map(pods.map((p) => [keyOf(p), p])),
    policies: new Map(policiesOf(manifests).map((p) => [policyKey(p), p])),
  });
  const index = indexPolicies(state);
  for (const from of pods)
    for (const to of [...pods, undefined]) {
      if (from === to) continue;
      for (const protocol of ['TCP', 'UDP'] as const)
        for (const port of [79, 80, 81, 90]) {
          const flow = {
            from: { ip: from.ips[0] ?? '', pod: from },
            to: { ip: to?.ips[0] ?? OUTSIDE, pod: to },
            protocol,
            port,
          };
          const asked = { from: keyOf(from), to: to ? keyOf(to) : OUTSIDE, protocol, port };
          const { verdict } = evaluate(index, flow);
          if (verdict !== expected(admins, baseline, { from, to, protocol, port }))
            expect({ ...asked, verdict }).toEqual({
              ...asked,
              verdict: expected(admins, baseline, { from, to, protocol, port }),
            });
        }
    }
}

const selector = fc.oneof(
  fc.constant({}),
  fc.constantFrom(...NAMESPACES).map((ns) => ({ matchLabels: { ns } })),
);
const podSelector = fc.oneof(
  fc.constant({}),
  fc.constantFrom('a', 'b', 'c').map((pod) => ({ matchLabels: { pod } })),
);
const subject: fc.Arbitrary<Peer> = fc.oneof(
  selector.map((namespaces) => ({ namespaces })),
  fc.record({ namespaceSelector: selector, podSelector }).map((p) => ({ pods: p })),
);
const network = fc.constantFrom(`${OUTSIDE}/32`, ...pods.map((p) => `${p.ips[0]}/32`));
const egressPeer: fc.Arbitrary<Peer> = fc.oneof(
  subject,
  fc.array(network, { minLength: 1, maxLength: 25 }).map((networks) => ({ networks })),
);
const protocol = fc.constantFrom<Protocol>('TCP', 'UDP');
const numbered: fc.Arbitrary<Ported> = fc.oneof(
  fc.record({ protocol, port: fc.integer({ min: 79, max: 82 }) }).map((portNumber) => ({ portNumber })),
  fc.constant({ portNumber: { port: 80 } }),
  fc
    .record({ protocol, start: fc.integer({ min: 78, max: 81 }), end: fc.integer({ min: 81, max: 95 }) })
    .map((portRange) => ({ portRange })),
);
const named: fc.Arbitrary<Ported> = fc.constantFrom('web', 'alt', 'dgram').map((namedPort) => ({ namedPort }));

const few = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(one, { minLength: 1, maxLength: 3 });
/** More than a ClusterNetworkPolicy takes (25), and few enough for the budgets of a policy. */
const many = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(one, { minLength: 26, maxLength: 40 });

/** Mostly few rules of few peers and ports; sometimes many of one of the three, never of two at once: that is their product. */
const rulesOf = (
  action: fc.Arbitrary<Rule['action']>,
  peer: fc.Arbitrary<Peer>,
  port: fc.Arbitrary<Ported>,
): fc.Arbitrary<Rule[]> => {
  const rule = (peers: fc.Arbitrary<Peer[]>, ports: fc.Arbitrary<Ported[]>): fc.Arbitrary<Rule> =>
    fc.record({ action, peers, ports }, { requiredKeys: ['action', 'peers'] });
  const small = rule(few(peer), few(port));
  return fc.oneof(
    { weight: 6, arbitrary: fc.array(small, { maxLength: 3 }) },
    { weight: 1, arbitrary: many(small) },
    { weight: 1, arbitrary: fc.array(rule(many(peer), few(port)), { maxLength: 2 }) },
    { weight: 1, arbitrary: fc.array(rule(few(peer), many(port)), { maxLength: 2 }) },
  );
};
const adminOf = (action: fc.Arbitrary<Rule['action']>): fc.Arbitrary<Omit<Admin, 'priority'>> =>
  fc.record({
    subject,
    ingress: rulesOf(action, subject, fc.oneof(numbered, named)),
    egress: fc.oneof(rulesOf(action, egressPeer, numbered), rulesOf(action, subject, fc.oneof(numbered, named))),
  });

test('any policies mean what the specification of the older kind says', () => {
  fc.assert(
    fc.property(
      fc.array(adminOf(fc.constantFrom('Allow', 'Deny', 'Pass')), { maxLength: 3 }),
      fc.uniqueArray(fc.integer({ min: 0, max: 1000 }), { minLength: 3, maxLength: 3 }),
      fc.option(adminOf(fc.constantFrom('Allow', 'Deny')), { nil: undefined }),
      (admins, priorities, baseline) => {
        expectSame(
          admins.map((a, i) => ({ ...a, priority: priorities[i] ?? 0 })),
          baseline,
        );
      },
    ),
    // A counterexample of this size takes minutes to make small: after this time the one at hand is told.
    { numRuns: 60, interruptAfterTimeLimit: 60_000 },
  );
}, 120_000);

// After the cases of the project's own conformance suite.
describe('cases', () => {
  const everyone: Peer = { namespaces: {} };
  const of = (ns: string): Peer => ({ namespaces: { matchLabels: { ns } } });
  const rule = (action: Rule['action'], peer: Peer, ...ports: Ported[]): Rule => ({ action, peers: [peer], ports });
  const http: Ported = { portNumber: { port: 80 } };
  test.each<[name: string, admins: Admin[], baseline?: Admin]>([
    [
      'allow before deny in one policy',
      [{ priority: 5, subject: of('x'), ingress: [rule('Allow', of('y')), rule('Deny', everyone)], egress: [] }],
    ],
    [
      'deny before allow in one policy',
      [{ priority: 5, subject: of('x'), ingress: [rule('Deny', everyone), rule('Allow', of('y'))], egress: [] }],
    ],
    [
      'the lower number of two policies wins',
      [
        { priority: 50, subject: everyone, ingress: [rule('Deny', everyone)], egress: [] },
        { priority: 10, subject: of('x'), ingress: [rule('Allow', of('y'), http)], egress: [] },
      ],
    ],
    [
      'pass leaves it to the baseline',
      [{ priority: 5, subject: everyone, ingress: [rule('Pass', of('y')), rule('Deny', everyone)], egress: [] }],
      { subject: of('x'), ingress: [rule('Deny', everyone, { namedPort: 'web' })], egress: [] },
    ],
    [
      'egress to networks and to a port range',
      [
        {
          priority: 5,
          subject: of('x'),
          ingress: [],
          egress: [rule('Deny', { networks: [`${OUTSIDE}/32`] }, { portRange: { start: 80, end: 81 } })],
        },
      ],
    ],
    [
      'egress without ports is every port',
      [{ priority: 0, subject: of('z'), ingress: [], egress: [rule('Deny', of('x'))] }],
    ],
    [
      'a baseline alone',
      [],
      { subject: everyone, ingress: [rule('Allow', of('x')), rule('Deny', everyone)], egress: [] },
    ],
    [
      'forty rules are two policies',
      [
        {
          priority: 7,
          subject: of('x'),
          ingress: Array.from({ length: 40 }, (_, i) =>
            rule(i === 39 ? 'Deny' : 'Pass', i === 39 ? everyone : of('y'), { portNumber: { port: 79 + i } }),
          ),
          egress: [],
        },
      ],
    ],
  ])('%s', (_, admins, baseline) => expectSame(admins, baseline));
});
