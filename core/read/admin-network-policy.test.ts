import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { translateAdminNetworkPolicy } from './admin-network-policy.ts';
import { parsePolicy } from './policy.ts';

describe('what the translation looks like', () => {
  const translate = (spec: object, kind = 'AdminNetworkPolicy', metadata: object = { name: 'p' }) =>
    translateAdminNetworkPolicy({ apiVersion: 'policy.networking.k8s.io/v1alpha1', kind, metadata, spec });
  const subjectOfAll = { namespaces: {} };

  test('every field', () => {
    const peers = [
      { namespaces: { matchLabels: { a: 'b' } } },
      { pods: { namespaceSelector: {}, podSelector: { matchLabels: { c: 'd' } } } },
      { nodes: { matchExpressions: [{ key: 'e', operator: 'Exists' }] } },
      { networks: ['198.51.100.0/24', '2001:db8::/32'] },
    ];
    const ports = [
      { portNumber: { port: 80 } },
      { portNumber: { protocol: 'UDP', port: 53 } },
      { portRange: { protocol: 'SCTP', start: 5, end: 9 } },
      { portRange: { start: 7, end: 7 } },
    ];
    const { policies, notes } = translate(
      {
        priority: 12,
        subject: subjectOfAll,
        ingress: null,
        egress: [{ name: 'out', action: 'Allow', to: peers, ports }],
      },
      'AdminNetworkPolicy',
      {
        name: 'p',
        uid: 'u',
        resourceVersion: '1',
        labels: { team: 'a' },
        annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}', note: 'n' },
      },
    );
    expect(notes).toEqual([]);
    expect(policies).toEqual([
      {
        apiVersion: 'policy.networking.k8s.io/v1alpha2',
        kind: 'ClusterNetworkPolicy',
        metadata: { name: 'p', labels: { team: 'a' }, annotations: { note: 'n' } },
        spec: {
          tier: 'Admin',
          priority: 12,
          subject: subjectOfAll,
          egress: [
            {
              name: 'out',
              action: 'Accept',
              to: peers,
              protocols: [
                { tcp: { destinationPort: { number: 80 } } },
                { udp: { destinationPort: { number: 53 } } },
                { sctp: { destinationPort: { range: { start: 5, end: 9 } } } },
                { tcp: { destinationPort: { number: 7 } } },
              ],
            },
          ],
        },
      },
    ]);
  });

  test('the baseline goes behind others of its tier', () => {
    const { policies } = translate({ subject: subjectOfAll }, 'BaselineAdminNetworkPolicy', { name: 'default' });
    expect(policies).toMatchObject([
      { metadata: { name: 'baseline-default' }, spec: { tier: 'Baseline', priority: 1000 } },
    ]);
  });

  test('names of the parts are in their order', () => {
    const rules = Array.from({ length: 100 }, () => ({
      action: 'Deny',
      from: Array.from({ length: 100 }, () => subjectOfAll),
    }));
    const { policies, notes } = translate({ priority: 1, subject: subjectOfAll, ingress: rules });
    const names = policies.map((p) => (p['metadata'] as { name: string }).name);
    expect(names).toEqual(names.toSorted());
    expect(names).toHaveLength(16);
    expect(notes).toContainEqual(expect.stringMatching(/^spec: has more rules .*: 16 of one priority/));
  });

  test('domain names are a rule of their own, so that the others count', () => {
    const { policies, notes } = translate({
      priority: 1,
      subject: subjectOfAll,
      egress: [{ action: 'Allow', to: [{ domainNames: ['example.com'] }, { networks: ['198.51.100.0/24'] }] }],
    });
    expect(notes).toEqual([expect.stringMatching(/^spec.egress\[0\]: domainNames are not supported/)]);
    const read = policies.flatMap((p) => parsePolicy(p) ?? []);
    expect(read[0]?.egress?.map((r) => r.peers)).toEqual([
      [{ kind: 'networks', cidrs: ['198.51.100.0/24'], except: [] }],
    ]);
  });

  test.each<[name: string, spec: object, problem: RegExp]>([
    ['no subject', { priority: 1 }, /^spec.subject: /],
    ['a field of another version', { priority: 1, subject: { namespaces: {}, sameLabels: ['a'] } }, /^spec.subject/],
    ['a priority out of range', { priority: 1001, subject: subjectOfAll }, /^spec.priority: /],
    [
      'a rule without peers',
      { priority: 1, subject: subjectOfAll, ingress: [{ action: 'Deny', from: [] }] },
      /^spec.ingress\[0\].from: /,
    ],
    [
      'named ports of networks',
      {
        priority: 1,
        subject: subjectOfAll,
        egress: [{ action: 'Deny', to: [{ networks: ['::/0'] }], ports: [{ namedPort: 'a' }] }],
      },
      /^spec.egress\[0\].to\[0\]: has no named ports/,
    ],
    [
      'domain names that are denied',
      { priority: 1, subject: subjectOfAll, egress: [{ action: 'Deny', to: [{ domainNames: ['a'] }] }] },
      /only a rule with the action Allow/,
    ],
    [
      'a baseline that passes',
      { subject: subjectOfAll, ingress: [{ action: 'Pass', from: [subjectOfAll] }] },
      /action: /,
    ],
    ['nothing at all', {}, /spec/],
  ])('%s is not translated', (_, spec, problem) => {
    const kind = 'priority' in spec ? 'AdminNetworkPolicy' : 'BaselineAdminNetworkPolicy';
    const { policies, problems } = translate(spec, kind);
    expect(policies).toEqual([]);
    expect(problems).toContainEqual(expect.stringMatching(problem));
  });

  test('no object breaks it', () => {
    fc.assert(
      fc.property(fc.anything(), fc.constantFrom('AdminNetworkPolicy', 'BaselineAdminNetworkPolicy'), (spec, kind) => {
        translateAdminNetworkPolicy({ kind, metadata: spec, spec });
      }),
    );
  });
});
