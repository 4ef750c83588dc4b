import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { CASES, type Case } from '../../test/policy/cases.ts';
import { probeOf } from '../../test/policy/probe.ts';
import { NAMESPACES, runningPods } from '../../test/policy/world.ts';
import { exampleNamespace, exampleState } from '../cluster/example.ts';
import { readPod } from '../read/objects.ts';
import { type ClusterState, keyOf, type Pod } from '../cluster/state.ts';
import { compileCell, lookUp } from './cell.ts';
import { evaluate, type PolicyFlow } from './evaluate.ts';
import { indexPolicies } from './index.ts';
import { policyKey } from '../cluster/policy.ts';
import { parsePolicy } from '../read/policy.ts';
import { groupsOf, Profiles } from './profile.ts';

// Every numbered line of the semantics, on the evaluator and on what the kernel is given. Packets: test/system/policy.test.ts.

const OUTSIDE = { 4: '203.0.113.10', 6: '2001:db8::10' } as const;

function stateOf({ policies }: Pick<Case, 'policies'>): ClusterState {
  const parsed = policies.flatMap((text) =>
    parseAllDocuments(text).map((d) => parsePolicy(d.toJS() as Record<string, unknown>)),
  );
  const pods = runningPods().map(readPod);
  return exampleState({
    namespaces: new Map(NAMESPACES.map((ns) => [ns, exampleNamespace(ns, { ns })])),
    pods: new Map(pods.map((p) => [keyOf(p), p])),
    policies: new Map(parsed.flatMap((p) => (p ? [[policyKey(p), p]] : []))),
  });
}

function flowOf(state: ClusterState, text: string, family: 4 | 6): PolicyFlow {
  const { from, to, port, protocol } = probeOf(text);
  const pod = (key: string): Pod => state.pods.get(key) as Pod;
  const ip = (p: Pod): string => p.ips[family === 4 ? 0 : 1] ?? '';
  const end = (key: string) => ({ ip: ip(pod(key)), pod: pod(key) });
  const service = to.endsWith('/svc-b');
  return {
    from: end(from),
    to: to === 'out' ? { ip: OUTSIDE[family], pod: undefined } : end(service ? to.replace('svc-b', 'b') : to),
    protocol,
    port: service ? 80 : port,
  };
}

/** The verdict of the compiled maps: what the kernel would find. */
function compiled(state: ClusterState, flow: PolicyFlow): 'Accept' | 'Deny' {
  const profiles = new Profiles(indexPolicies(state));
  const side = (direction: 'ingress' | 'egress'): 'Accept' | 'Deny' => {
    const [pod, other] = direction === 'egress' ? [flow.from.pod, flow.to] : [flow.to.pod, flow.from];
    const profile = pod && profiles.of(pod);
    if (!profile) return 'Accept';
    const cell = compileCell(profile.item[direction], groupsOf(profile.groups, other.ip));
    return lookUp(cell, flow.protocol, flow.port).verdict;
  };
  return side('egress') === 'Deny' || side('ingress') === 'Deny' ? 'Deny' : 'Accept';
}

describe.each(CASES.map((c) => [c.line, c.title, c] as const))('line %s: %s', (_line, _title, c) => {
  const state = stateOf(c);
  const index = indexPolicies(state);
  const probes = [...c.open.map((p) => [p, 'Accept'] as const), ...c.shut.map((p) => [p, 'Deny'] as const)];
  test.each([4, 6] as const)('IPv%i', (family) => {
    const flows = probes.map(([text, wanted]) => ({ text, wanted, flow: flowOf(state, text, family) }));
    const wanted = Object.fromEntries(flows.map((f) => [f.text, f.wanted]));
    expect(Object.fromEntries(flows.map((f) => [f.text, evaluate(index, f.flow).verdict]))).toEqual(wanted);
    expect(Object.fromEntries(flows.map((f) => [f.text, compiled(state, f.flow)]))).toEqual(wanted);
  });
});
