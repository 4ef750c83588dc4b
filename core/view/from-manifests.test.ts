import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Raw } from '../read/objects.ts';
import { fromManifests } from './from-manifests.ts';
import { viewOf } from './view.ts';

const odd = fc.oneof(fc.anything(), fc.constantFrom('toString', '__proto__', 'constructor', null, [null], {}, ''));
const object = fc.record(
  {
    apiVersion: fc.oneof(
      fc.constantFrom('v1', 'apps/v1', 'networking.k8s.io/v1', 'policy.networking.k8s.io/v1alpha1'),
      odd,
    ),
    kind: fc.oneof(
      fc.constantFrom('Pod', 'Service', 'Deployment', 'Namespace', 'NetworkPolicy', 'AdminNetworkPolicy', 'Template'),
      odd,
    ),
    metadata: fc.oneof(
      fc.record(
        { name: odd, namespace: odd, labels: odd, ownerReferences: odd, generateName: odd },
        { requiredKeys: [] },
      ),
      odd,
    ),
    spec: fc.oneof(fc.record({ selector: odd, ports: odd, template: odd, containers: odd }, { requiredKeys: [] }), odd),
    status: odd,
  },
  { requiredKeys: [] },
) as fc.Arbitrary<Raw>;

test('no objects break it: they are read, or a problem says why not', () => {
  fc.assert(
    fc.property(fc.array(object), (objects) => {
      const { state, problems } = fromManifests(objects.map((o, i) => ({ object: o, at: String(i) })));
      if (problems.length === 0) viewOf(state);
      expect(state.pods.size).toBeGreaterThanOrEqual(0);
    }),
    { numRuns: 1000 },
  );
});

test('a name that YAML reads as something else is told so', () => {
  const problemsOf = (name: unknown): readonly string[] =>
    fromManifests([{ object: { apiVersion: 'v1', kind: 'Pod', metadata: { name } }, at: 'a.yaml:1' }]).problems;
  expect(problemsOf(false)).toEqual([
    'a.yaml:1: a Pod without metadata.name (it is read as false, which is no text: put it in quotes)',
  ]);
  expect(problemsOf(undefined)).toEqual(['a.yaml:1: a Pod without metadata.name']);
});
