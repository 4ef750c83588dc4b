import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Resources } from '../objects/resources.ts';
import type { Attributes } from './attributes.ts';
import { constrains, selects } from './match.ts';

const resources = new Resources();
const types = ['Pod', 'Namespace', 'Deployment', 'ClusterRole', 'ConfigMap'].map((k) => resources.kind(k));
const operations = ['CREATE', 'UPDATE', 'DELETE'] as const;
const labels = fc.dictionary(fc.constantFrom('a', 'b'), fc.constantFrom('1', '2'));

const write: fc.Arbitrary<Attributes> = fc
  .record({
    type: fc.constantFrom(...types),
    operation: fc.constantFrom(...operations),
    subresource: fc.constantFrom('', 'status', 'scale'),
    namespace: fc.constantFrom('x', 'y', 'gone'),
    name: fc.constantFrom('one', 'two'),
    labels,
    oldLabels: labels,
  })
  .map(({ type, operation, subresource, namespace, name, labels: l, oldLabels }) => ({
    type,
    operation,
    subresource,
    namespace: type.kind === 'Namespace' ? name : type.namespaced ? namespace : undefined,
    name,
    object: operation === 'DELETE' ? undefined : { metadata: { name, labels: l } },
    oldObject: operation === 'CREATE' ? undefined : { metadata: { name, labels: oldLabels } },
    user: { username: 'u', groups: [] },
    dryRun: false,
  }));
const some = (...values: readonly string[]) => fc.subarray([...values], { minLength: 1 });
const rule = fc.record({
  apiGroups: some('', 'apps', 'rbac.authorization.k8s.io', '*'),
  apiVersions: some('v1', 'v2', '*'),
  operations: some(...operations, '*'),
  resources: some(
    'pods',
    'namespaces',
    'deployments',
    'clusterroles',
    'pods/status',
    'deployments/*',
    '*',
    '*/*',
    '*/status',
  ),
  scope: fc.constantFrom(undefined, '*', 'Namespaced', 'Cluster'),
});
const selector = fc.oneof(
  fc.constant(undefined),
  fc.constant({}),
  fc.record({ matchLabels: labels }),
  fc.constantFrom('In', 'NotIn').map((operator) => ({ matchExpressions: [{ key: 'a', operator, values: ['1'] }] })),
);
const namespaces: Readonly<Record<string, Record<string, string>>> = { x: { a: '1' }, y: { b: '2' } };
const labelsOfNamespace = (name: string) => namespaces[name];

describe('which writes a webhook or policy is for', () => {
  test('each part can only narrow: rules are alternatives, selectors are conditions', () => {
    fc.assert(
      fc.property(
        write,
        fc.array(rule, { maxLength: 3 }),
        selector,
        selector,
        (a, rules, namespaceSelector, objectSelector) => {
          const by = (r: unknown, s: object) => selects(r, s as never, a, labelsOfNamespace);
          const both = by(rules, { namespaceSelector, objectSelector });
          expect(both).toBe(by(rules, { namespaceSelector }) && by(rules, { objectSelector }));
          expect(by(rules, {})).toBe(rules.some((r) => by([r], {})));
        },
      ),
      { numRuns: 500 },
    );
  });

  test('a rule selects exactly what each of its fields selects', () => {
    fc.assert(
      fc.property(write, rule, (a, r) => {
        const all = { apiGroups: ['*'], apiVersions: ['*'], operations: ['*'], resources: ['*/*'] };
        const one = (part: object): boolean => selects([{ ...all, ...part }], {}, a, labelsOfNamespace);
        const { apiGroups, apiVersions, operations: ops, resources: res, scope } = r;
        expect(selects([r], {}, a, labelsOfNamespace)).toBe(
          one({ apiGroups }) &&
            one({ apiVersions }) &&
            one({ operations: ops }) &&
            one({ resources: res }) &&
            one({ scope }),
        );
        expect(one({ operations: ops })).toBe(ops.includes('*') || ops.includes(a.operation));
        expect(one({ resources: ['*'] })).toBe(a.subresource === '');
        expect(one({ resources: [a.type.plural] })).toBe(a.subresource === '');
        expect(one({ resources: [`${a.type.plural}/*`] })).toBe(true);
        expect(one({ resources: [`*/${a.subresource === '' ? 'status' : a.subresource}`] })).toBe(a.subresource !== '');
        expect(one({ scope: 'Namespaced' })).toBe(a.type.namespaced);
        expect(one({ scope: 'Cluster' })).toBe(!a.type.namespaced);
      }),
      { numRuns: 500 },
    );
  });

  test('an excluded rule excludes, whatever the others say; a binding without rules is for everything', () => {
    fc.assert(
      fc.property(write, rule, rule, (a, included, excluded) => {
        const by = (c: object, withoutRules = false) => constrains(c as never, a, labelsOfNamespace, { withoutRules });
        const out = by({ resourceRules: [excluded] });
        expect(by({ resourceRules: [included], excludeResourceRules: [excluded] })).toBe(
          by({ resourceRules: [included] }) && !out,
        );
        expect(by({ excludeResourceRules: [excluded] }, true)).toBe(!out);
        expect(by({})).toBe(false);
        expect(by({}, true)).toBe(true);
      }),
    );
  });

  test('a selector of namespaces: by the labels of the namespace, for a Namespace by its own, never for what is in none', () => {
    fc.assert(
      fc.property(write, (a) => {
        const every = [{ apiGroups: ['*'], apiVersions: ['*'], operations: ['*'], resources: ['*/*'] }];
        const is = selects(every, { namespaceSelector: { matchLabels: { a: '1' } } }, a, labelsOfNamespace);
        const own = (a.object ?? a.oldObject) as { metadata: { labels: Record<string, string> } };
        if (a.type.kind === 'Namespace') expect(is).toBe(own.metadata.labels['a'] === '1');
        else expect(is).toBe(!a.type.namespaced || a.namespace === 'x');
      }),
    );
  });
});
