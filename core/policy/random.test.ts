import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NAMESPACES, runningPods } from '../../test/policy/world.ts';
import { randomPolicies } from '../../test/policy/random.ts';
import { exampleNamespace, exampleState } from '../cluster/example.ts';
import { readPod } from '../read/objects.ts';
import { keyOf } from '../cluster/state.ts';
import { compileCell, lookUp } from './cell.ts';
import { ownAddresses } from '../nodes/addresses.ts';
import { type End, evaluate, type PolicyFlow } from './evaluate.ts';
import { indexPolicies } from './index.ts';
import { policyKey } from '../cluster/policy.ts';
import { parsePolicy } from '../read/policy.ts';
import { groupsOf, Profiles } from './profile.ts';

// Any policies over a fixed set of pods: the maps that the kernel gets say what the evaluator says, with the same reason.

const pods = runningPods().map(readPod);
const OTHERS = [
  '203.0.113.10',
  '203.0.113.200',
  '2001:db8::10',
  '192.0.2.11',
  '192.0.2.12',
  '10.244.1.200',
  '10.244.2.0',
];
const PORTS = [1, 79, 80, 81, 82, 443, 8000, 65_535];

describe('random policies', () => {
  test('compiled maps are the evaluator, verdict and rule', () => {
    fc.assert(
      fc.property(randomPolicies, (manifests) => {
        const state = exampleState({
          namespaces: new Map(NAMESPACES.map((ns) => [ns, exampleNamespace(ns, { ns })])),
          pods: new Map(pods.map((p) => [keyOf(p), p])),
          policies: new Map(manifests.flatMap((m) => parsePolicy(m) ?? []).map((p) => [policyKey(p), p])),
        });
        const index = indexPolicies(state);
        const profiles = new Profiles(index);
        const ends: End[] = [
          ...pods.flatMap((p) => p.ips.map((ip) => ({ ip, pod: p }))),
          ...OTHERS.map((ip) => ({ ip, pod: undefined })),
        ];
        for (const pod of pods) {
          const profile = profiles.of(pod);
          for (const other of ends) {
            const own = pod.ips.find((ip) => ip.includes(':') === other.ip.includes(':')) ?? '';
            // A node's own addresses are met elsewhere: by other chains.
            if (state.nodes.get(pod.node)?.addresses.includes(other.ip)) continue;
            const cells = profile && {
              egress: compileCell(profile.item.egress, groupsOf(profile.groups, other.ip)),
              ingress: compileCell(profile.item.ingress, groupsOf(profile.groups, other.ip)),
            };
            const local = state.nodes.get(pod.node)?.podCIDRs.flatMap(ownAddresses) ?? [];
            for (const direction of local.includes(other.ip) ? ['ingress' as const] : (['egress', 'ingress'] as const))
              for (const [protocol, port] of [
                ...PORTS.flatMap(
                  (p) =>
                    [
                      ['TCP', p],
                      ['UDP', p],
                      ['SCTP', p],
                    ] as const,
                ),
                ['ICMP', 0] as const,
              ]) {
                const me: End = { ip: own, pod };
                const flow: PolicyFlow =
                  direction === 'egress'
                    ? { from: me, to: other, protocol, port }
                    : { from: other, to: me, protocol, port };
                const said = evaluate(index, flow)[direction];
                const step = said?.steps.at(-1);
                const found = cells ? lookUp(cells[direction], protocol, port) : undefined;
                const compiled = found
                  ? [found.verdict, found.tier, found.policy, found.rule]
                  : ['Accept', 'Default', '', ''];
                if (JSON.stringify(compiled) !== JSON.stringify([said?.verdict, step?.tier, step?.policy, step?.rule]))
                  expect({ pod: keyOf(pod), other: other.ip, direction, protocol, port, compiled }).toEqual({
                    pod: keyOf(pod),
                    other: other.ip,
                    direction,
                    protocol,
                    port,
                    compiled: [said?.verdict, step?.tier, step?.policy, step?.rule],
                  });
              }
          }
        }
      }),
      { numRuns: 40 },
    );
  }, 120_000);

  test('10 000 specs of any shape are read without throwing, and what is made of them compiles', () => {
    fc.assert(
      fc.property(
        fc.object({
          maxDepth: 4,
          key: fc.constantFrom(
            'spec',
            'podSelector',
            'ingress',
            'egress',
            'from',
            'to',
            'ports',
            'peers',
            'policyTypes',
            'matchLabels',
            'tier',
            'priority',
            'subject',
            'namespaces',
            'pods',
            'action',
            'protocols',
            'tcp',
          ),
        }),
        fc.constantFrom('NetworkPolicy', 'ClusterNetworkPolicy'),
        (spec, kind) => {
          const policy = parsePolicy({ kind, metadata: { name: 'p', namespace: 'x' }, spec });
          expect(policy).toBeDefined();
          const state = exampleState({
            namespaces: new Map(NAMESPACES.map((ns) => [ns, exampleNamespace(ns, { ns })])),
            pods: new Map(pods.map((p) => [keyOf(p), p])),
            policies: new Map([['p', policy as NonNullable<typeof policy>]]),
          });
          const profiles = new Profiles(indexPolicies(state));
          for (const pod of pods.slice(0, 3)) {
            const profile = profiles.of(pod);
            if (profile)
              for (const side of [profile.item.egress, profile.item.ingress])
                compileCell(side, new Set(profile.groups.keys()));
          }
        },
      ),
      { numRuns: 10_000 },
    );
  }, 120_000);
});
