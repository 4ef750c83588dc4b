import { describe, expect, test } from 'vitest';
import { worldManifests } from '../../test/policy/world.ts';
import { stateOfManifests } from '../view/from-manifests.ts';
import type { Raw } from '../read/objects.ts';
import { viewOf } from '../view/view.ts';
import { lint } from './lint.ts';

const np = (name: string, spec: object): Raw => ({
  kind: 'NetworkPolicy',
  metadata: { name, namespace: 'x' },
  spec,
});
const cnp = (name: string, spec: object): Raw => ({
  kind: 'ClusterNetworkPolicy',
  metadata: { name },
  spec: { tier: 'Admin', priority: 1, subject: { namespaces: {} }, ...spec },
});
const found = (...policies: Raw[]): string[] =>
  lint(viewOf(stateOfManifests([...worldManifests(), ...policies]))).map((f) => `${f.code} ${f.policy} ${f.path}`);

describe('lint', () => {
  test('nothing to say of a policy that means what it says', () => {
    const good = np('good', {
      podSelector: {},
      policyTypes: ['Ingress', 'Egress'],
      ingress: [{ from: [{ namespaceSelector: { matchLabels: { ns: 'y' } } }], ports: [{ port: 80 }] }],
      egress: [{ to: [{ namespaceSelector: {} }] }],
    });
    expect(found(good)).toEqual([]);
  });

  test.each<[string, Raw[], string[]]>([
    [
      'a selector without pods',
      [np('p', { podSelector: { matchLabels: { pod: 'none' } } })],
      ['SelectsNothing NetworkPolicy x/p spec.podSelector'],
    ],
    [
      'a peer without pods',
      [np('p', { podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'none' } } }] }] })],
      ['MatchesNothing NetworkPolicy x/p spec.ingress[0].from[0]'],
    ],
    [
      'an empty list of peers',
      [np('p', { podSelector: {}, ingress: [{ from: [], ports: [{ port: 80 }] }] })],
      ['OpenToTheWorld NetworkPolicy x/p spec.ingress[0]'],
    ],
    [
      'egress without DNS',
      [
        np('p', {
          podSelector: {},
          policyTypes: ['Egress'],
          egress: [{ to: [{ podSelector: {} }], ports: [{ port: 80 }] }],
        }),
      ],
      ['NoDNS NetworkPolicy x/p spec.egress'],
    ],
    [
      'a rule behind one that says all of it',
      [
        cnp('guard', {
          ingress: [
            { action: 'Deny', from: [{ namespaces: {} }] },
            { action: 'Accept', from: [{ namespaces: { matchLabels: { ns: 'y' } } }] },
          ],
        }),
      ],
      ['NeverDecides ClusterNetworkPolicy guard spec.ingress[1]'],
    ],
    [
      'equal priorities',
      [
        cnp('one', { egress: [{ action: 'Deny', to: [{ namespaces: { matchLabels: { ns: 'y' } } }] }] }),
        cnp('two', { egress: [{ action: 'Accept', to: [{ namespaces: {} }] }] }),
      ],
      ['EqualPriority ClusterNetworkPolicy one spec.priority', 'EqualPriority ClusterNetworkPolicy two spec.priority'],
    ],
    [
      'what cannot be read',
      [np('p', { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 'x' } }] }] })],
      ['Unreadable NetworkPolicy x/p spec.ingress[0].from[0].ipBlock.cidr'],
    ],
    [
      'a pod by its address',
      [
        {
          kind: 'Pod',
          metadata: { name: 'd', namespace: 'x' },
          spec: { containers: [] },
          status: { podIPs: [{ ip: '10.1.2.3' }] },
        },
        np('p', { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: '10.1.2.3/32' } }] }] }),
      ],
      ['PodByAddress NetworkPolicy x/p spec.ingress[0].from[0]'],
    ],
  ])('%s', (_name, policies, wanted) => {
    expect(found(...policies)).toEqual(wanted);
  });
});
