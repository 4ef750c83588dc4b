import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { randomPolicies } from '../../test/policy/random.ts';
import { worldManifests } from '../../test/policy/world.ts';
import { stateOfManifests } from '../view/from-manifests.ts';
import type { Raw } from '../read/objects.ts';
import type { Pod } from '../cluster/state.ts';
import { type View, viewOf } from '../view/view.ts';
import type { Step } from '../policy/walk.ts';
import type { Source } from './decide.ts';
import type { Target } from './decision.ts';
import { type Explanation, explain, explainPorts } from './explain.ts';
import { remedyFor } from './remedy.ts';

const view = (...objects: Raw[]): View => viewOf(stateOfManifests([...worldManifests(), ...objects]));
const podOf = (v: View, key: string): Pod => v.state.pods.get(key) as Pod;
const from = (pod: Pod): Source => ({ kind: 'Pod', pod });
const at = (pod: Pod, port = 80): Target => ({ address: pod.ips[0] ?? '', port, protocol: 'TCP' });
/** What one side of the only place says. */
const side = ({ places }: Explanation, direction: 'egress' | 'ingress'): readonly Step[] =>
  places[0]?.[direction] ?? [];
const policy = (namespace: string, name: string, spec: object): Raw => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name, namespace },
  spec,
});

describe('explain', () => {
  test('the deciding rule of each side, all that was passed on the way, and the networks', () => {
    const v = view(
      policy('x', 'db', {
        podSelector: {},
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { ns: 'y' } } }], ports: [{ port: 80 }] }],
      }),
      {
        kind: 'ClusterNetworkPolicy',
        metadata: { name: 'guard' },
        spec: {
          tier: 'Admin',
          priority: 3,
          subject: { namespaces: {} },
          ingress: [{ name: 'tenants decide', action: 'Pass', from: [{ namespaces: {} }] }],
        },
      },
    );
    const accepted = explain(v, from(podOf(v, 'y/a')), at(podOf(v, 'x/a')));
    expect([accepted.verdict, side(accepted, 'egress'), side(accepted, 'ingress')]).toEqual([
      'Accept',
      [{ tier: 'Default', policy: '', rule: '', action: 'Accept', decides: true }],
      [
        { tier: 'Admin', policy: 'ClusterNetworkPolicy guard', rule: 'tenants decide', action: 'Pass', decides: false },
        { tier: 'NetworkPolicy', policy: 'NetworkPolicy x/db', rule: 'ingress[0]', action: 'Accept', decides: true },
      ],
    ]);
    const denied = explain(v, from(podOf(v, 'z/a')), at(podOf(v, 'x/a')));
    expect(denied.verdict).toBe('Deny');
    expect(side(denied, 'ingress').at(-1)).toEqual({
      tier: 'NetworkPolicy',
      policy: 'NetworkPolicy x/db',
      rule: '',
      action: 'Deny',
      decides: true,
    });
    expect(explainPorts(v, from(podOf(v, 'y/a')), at(podOf(v, 'x/a')).address)).toEqual([
      { protocol: 'TCP', first: 1, last: 79, verdict: 'Deny' },
      { protocol: 'TCP', first: 80, last: 80, verdict: 'Accept' },
      { protocol: 'TCP', first: 81, last: 65_535, verdict: 'Deny' },
      { protocol: 'UDP', first: 1, last: 65_535, verdict: 'Deny' },
      { protocol: 'SCTP', first: 1, last: 65_535, verdict: 'Deny' },
      { protocol: 'ICMP', first: 0, last: 0, verdict: 'Deny' },
    ]);
  });

  test('isolated namespaces are told apart though no controller has made their networks', () => {
    const v = view(
      { kind: 'Namespace', metadata: { name: 'alone', labels: { 'bulkhead.dev/isolated': 'true' } } },
      {
        kind: 'Deployment',
        metadata: { name: 'web', namespace: 'alone' },
        spec: { template: { spec: { containers: [{ ports: [{ containerPort: 80 }] }] } } },
      },
    );
    const { verdict, decision } = explain(v, from(podOf(v, 'x/a')), at(podOf(v, 'alone/web')));
    expect([verdict, decision.verdict, decision.destination]).toMatchObject([
      'Deny',
      'rejected',
      { network: 'alone/default' },
    ]);
  });

  test('the remedy admits what was denied, on its side, and the ports between say the same as each port', () => {
    fc.assert(
      fc.property(
        randomPolicies,
        fc.constantFrom('x/a', 'y/b', 'z/c'),
        fc.constantFrom('x/b', 'y/a', 'z/a'),
        (policies, sender, to) => {
          const v = view(...policies);
          const target = at(podOf(v, to));
          const source = from(podOf(v, sender));
          const result = explain(v, source, target);
          for (const p of explainPorts(v, source, target.address))
            for (const port of [p.first, p.last])
              if (p.protocol !== 'ICMP')
                expect([p, explain(v, source, { ...target, port, protocol: p.protocol }).verdict]).toEqual([
                  p,
                  p.verdict,
                ]);
          for (const direction of ['egress', 'ingress'] as const) {
            const [place] = result.places;
            const remedy = place && remedyFor(direction, place.flow, place[direction]);
            expect(remedy !== undefined).toBe(side(result, direction).at(-1)?.action === 'Deny');
            if (!remedy) continue;
            const changed = policies.map((p) => addRule(p, direction, remedy));
            const after = view(...changed);
            const again = explain(after, from(podOf(after, sender)), at(podOf(after, to)));
            expect(side(again, direction).at(-1)?.action).toBe('Accept');
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

/** What the remedy says, done. */
function addRule(
  manifest: Record<string, unknown>,
  direction: 'ingress' | 'egress',
  { policy: key, rule }: NonNullable<ReturnType<typeof remedyFor>>,
): Record<string, unknown> {
  const { name, namespace } = manifest['metadata'] as { name: string; namespace?: string };
  if (key !== `${String(manifest['kind'])} ${namespace === undefined ? name : `${namespace}/${name}`}`) return manifest;
  const spec = manifest['spec'] as Record<string, unknown>;
  const rules = (spec[direction] ?? []) as object[];
  // For an ordered policy "before the rule" is before all of them, too.
  const isolates = direction === 'ingress' ? 'Ingress' : 'Egress';
  const types = spec['policyTypes'] as string[] | undefined;
  return {
    ...manifest,
    spec: {
      ...spec,
      [direction]: [rule, ...rules],
      ...(namespace !== undefined && types ? { policyTypes: [...new Set([...types, isolates])] } : {}),
    },
  };
}
