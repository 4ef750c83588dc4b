import fc from 'fast-check';
import { expect, test } from 'vitest';
import { randomPolicies } from '../../test/policy/random.ts';
import { NAMESPACES, runningPods } from '../../test/policy/world.ts';
import { lastOf, mustPrefix } from '../../lib/ip/prefix.ts';
import { formatIp } from '../../lib/ip/address.ts';
import { exampleNamespace, exampleState } from '../cluster/example.ts';
import { type Policy, policyKey } from '../cluster/policy.ts';
import { type ClusterState, keyOf, type Pod } from '../cluster/state.ts';
import { readPod } from '../read/objects.ts';
import { parsePolicy } from '../read/policy.ts';
import { type End, evaluateSide, type PolicyFlow } from '../policy/evaluate.ts';
import { indexPolicies, type PolicyIndex, selects } from '../policy/index.ts';
import { viewOf } from '../view/view.ts';
import type { Finding } from './finding.ts';
import { lint } from './lint.ts';

// What lint says is true by brute force: every pod is asked with every address, every port and every protocol that policies of the
// world can tell apart, and the evaluator says which rules have a say.

const pods = runningPods().map(readPod);
const PORTS = [1, 2, 79, 80, 81, 82, 443, 444, 8_000, 65_535];

function stateOf(manifests: readonly Record<string, unknown>[], hosts: readonly number[]): ClusterState {
  const some = pods.map((p, i): Pod => (hosts.includes(i) ? { ...p, hostNetwork: true } : p));
  return exampleState({
    namespaces: new Map(NAMESPACES.map((ns) => [ns, exampleNamespace(ns, { ns })])),
    pods: new Map(some.map((p) => [keyOf(p), p])),
    services: new Map(),
    slices: new Map(),
    policies: new Map(manifests.flatMap((m) => parsePolicy(m) ?? []).map((p) => [policyKey(p), p])),
  });
}

/** Every address that a prefix of any policy could tell from its neighbours, and every pod and node. */
function ends(state: ClusterState): End[] {
  const edges = [...(state.policies?.values() ?? [])].flatMap((p) =>
    [...(p.ingress ?? []), ...(p.egress ?? [])].flatMap(({ peers }) =>
      peers === 'any'
        ? []
        : peers.flatMap((peer) =>
            peer.kind === 'networks'
              ? [...peer.cidrs, ...peer.except].flatMap((c) => {
                  const prefix = mustPrefix(c);
                  const { family } = prefix;
                  const last = lastOf(prefix);
                  return [prefix.first, last, prefix.first - 1n, last + 1n]
                    .filter((v) => v >= 0n && v < 1n << (family === 4 ? 32n : 128n))
                    .map((value) => formatIp({ family, value }));
                })
              : [],
          ),
    ),
  );
  const known = [...state.pods.values()].filter((p) => !p.hostNetwork);
  const byIp = new Map(known.flatMap((p) => p.ips.map((ip) => [ip, p] as const)));
  const nodes = [...state.nodes.values()].flatMap((n) => n.addresses);
  return [...new Set([...edges, ...byIp.keys(), ...nodes, '198.51.100.7', '2001:db8:9::9'])].map((ip) => ({
    ip,
    pod: byIp.get(ip),
  }));
}

/** "policy direction rule" of the rules that any flow names. */
function speaking(index: PolicyIndex): Set<string> {
  const { state } = index;
  const found = new Set<string>();
  const others = ends(state);
  for (const pod of state.pods.values()) {
    if (pod.hostNetwork) continue;
    for (const other of others)
      for (const direction of ['ingress', 'egress'] as const)
        for (const protocol of ['TCP', 'UDP', 'SCTP', 'ICMP'] as const)
          for (const port of protocol === 'ICMP' ? [0] : PORTS) {
            const me: End = { ip: pod.ips.find((ip) => ip.includes(':') === other.ip.includes(':')) ?? '', pod };
            const flow: PolicyFlow =
              direction === 'egress'
                ? { from: me, to: other, protocol, port }
                : { from: other, to: me, protocol, port };
            for (const { policy, rule } of evaluateSide(index, direction, pod, flow).steps)
              found.add(`${policy} ${direction} ${rule}`);
          }
  }
  return found;
}

/** The rule or peer that a path names. */
function at(policy: Policy, path: string) {
  const [, direction = '', i = '', j] = /^spec\.(ingress|egress)\[(\d+)\](?:\.(?:from|to)\[(\d+)\])?/.exec(path) ?? [];
  const rules = policy[direction as 'ingress' | 'egress'] ?? [];
  const rule = policy.kind === 'NetworkPolicy' ? rules.find((r) => r.name === `${direction}[${i}]`) : rules[Number(i)];
  if (!rule) throw new Error(`${path} is no rule`);
  return { direction, rule, peer: j === undefined || rule.peers === 'any' ? undefined : rule.peers[Number(j)] };
}

function check(index: PolicyIndex, said: ReadonlySet<string>, finding: Finding): void {
  const { state } = index;
  const policy = state.policies?.get(finding.policy);
  if (!policy) throw new Error(`${finding.policy} is no policy`);
  const all = [...state.pods.values()];
  switch (finding.code) {
    case 'SelectsNothing':
    case 'NoPods':
    case 'HostNetwork':
    case 'MatchesNothing':
    case 'NoSuchNamespace':
    case 'EmptyBlock': {
      const peer = finding.path.startsWith('spec.podSelector') || finding.path === 'spec.subject';
      const selector = peer ? policy.subject : at(policy, finding.path).peer;
      if (selector && 'pods' in selector) expect(all.filter((p) => selects(state, selector, p))).toEqual([]);
      return;
    }
    case 'NeverDecides':
    case 'DuplicateRule': {
      const { direction, rule } = at(policy, finding.path);
      expect([...said].filter((s) => s === `${finding.policy} ${direction} ${rule.name}`)).toEqual([]);
      return;
    }
    case 'NoSuchPort': {
      const { direction, rule } = at(policy, finding.path);
      const receivers = all.filter(
        (p) => direction === 'egress' || (policy.subject && selects(state, policy.subject, p)),
      );
      const port = rule.ports === 'any' ? undefined : rule.ports[Number(/(\d+)\]$/.exec(finding.path)?.[1])];
      if (port?.kind !== 'named') throw new Error('no named port');
      if (direction === 'ingress')
        expect(
          receivers.filter((p) =>
            p.ports.some((x) => x.name === port.name && (port.protocol ?? x.protocol) === x.protocol),
          ),
        ).toEqual([]);
      return;
    }
    case 'DuplicatePolicy': {
      const own = [...said].filter((s) => s.startsWith(`${finding.policy} `));
      expect(own).toEqual([]);
      return;
    }
    default:
  }
}

test('what lint says of random policies is true by brute force', () => {
  const counts = new Map<string, number>();
  fc.assert(
    fc.property(randomPolicies, fc.uniqueArray(fc.nat({ max: 8 }), { maxLength: 4 }), (manifests, hosts) => {
      const state = stateOf(manifests, hosts);
      const findings = lint(viewOf(state), { complete: true });
      for (const { code } of findings) counts.set(code, (counts.get(code) ?? 0) + 1);
      if (findings.length === 0) return;
      const index = indexPolicies(state);
      const said = speaking(index);
      for (const finding of findings) check(index, said, finding);
    }),
    { numRuns: 60 },
  );
  // The worlds are such that each kind comes up.
  expect([...counts.keys()]).toEqual(expect.arrayContaining(['NeverDecides', 'HostNetwork', 'NoSuchPort', 'NoDNS']));
}, 120_000);
