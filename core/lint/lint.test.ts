import { describe, expect, test } from 'vitest';
import { A, cnp, egress, found, ingress, np, pod, said, service, slice } from '../../test/policy/lint-objects.ts';
import type { Raw } from '../read/objects.ts';
import { stateOfManifests } from '../view/from-manifests.ts';
import { viewOf } from '../view/view.ts';
import { lint } from './lint.ts';

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

describe('what was missed', () => {
  test.each<[string, Raw[], string]>([
    [
      'the cluster IP of a Service',
      [
        service('web', { clusterIP: '10.96.0.7', ports: [{ name: 'h', port: 80 }] }),
        np('p', egress({ to: [{ ipBlock: { cidr: '10.96.0.7/32' } }], ports: [{ port: 80 }] })),
      ],
      'ServiceByAddress NetworkPolicy x/p spec.egress[0].to[0]',
    ],
    [
      'the cluster IP of a Service, IPv6',
      [
        service('web', { clusterIPs: ['fd00:96::7'], clusterIP: 'fd00:96::7', ports: [{ name: 'h', port: 80 }] }),
        np('p', egress({ to: [{ ipBlock: { cidr: 'fd00:96::7/128' } }] })),
      ],
      'ServiceByAddress NetworkPolicy x/p spec.egress[0].to[0]',
    ],
    [
      'the address of a load balancer, as a sender',
      [
        {
          ...service('web', { type: 'LoadBalancer', clusterIP: '10.96.0.7', ports: [{ name: 'h', port: 80 }] }),
          status: { loadBalancer: { ingress: [{ ip: '198.51.100.9' }] } },
        },
        np('p', ingress({ from: [{ ipBlock: { cidr: '198.51.100.9/32' } }] })),
      ],
      'ServiceByAddress NetworkPolicy x/p spec.ingress[0].from[0]',
    ],
    [
      'a range of nothing but Services',
      [
        service('web', { clusterIP: '10.96.0.7', ports: [{ name: 'h', port: 80 }] }),
        np('p', egress({ to: [{ ipBlock: { cidr: '10.96.0.0/12' } }] })),
      ],
      'ServiceByAddress NetworkPolicy x/p spec.egress[0].to[0]',
    ],
    [
      'a part of the range of pods',
      [
        { kind: 'Node', metadata: { name: 'n1' }, spec: { podCIDRs: ['10.244.1.0/24'] } },
        np('p', ingress({ from: [{ ipBlock: { cidr: '10.244.1.0/25' } }] })),
      ],
      'PodByAddress NetworkPolicy x/p spec.ingress[0].from[0]',
    ],
    [
      'networks of a ClusterNetworkPolicy',
      [
        service('web', { clusterIP: '10.96.0.7', ports: [{ name: 'h', port: 80 }] }),
        cnp('p', { egress: [{ action: 'Deny', to: [{ networks: ['10.96.0.7/32'] }] }] }),
      ],
      'ServiceByAddress ClusterNetworkPolicy p spec.egress[0].to[0]',
    ],
    [
      'egress under Ingress',
      [np('p', { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ from: [A] }], egress: [{ to: [A] }] })],
      'UnusedDirection NetworkPolicy x/p spec.egress',
    ],
    [
      'ingress under Egress',
      [np('p', { ...egress(), ingress: [{ from: [A] }] })],
      'UnusedDirection NetworkPolicy x/p spec.ingress',
    ],
    [
      'Egress without a rule',
      [np('p', { podSelector: {}, policyTypes: ['Ingress', 'Egress'], ingress: [{ from: [A] }] })],
      'NoDNS NetworkPolicy x/p spec.policyTypes',
    ],
    [
      'DNS by TCP alone',
      [np('p', { podSelector: {}, policyTypes: ['Egress'], egress: [{ ports: [{ port: 53 }] }] })],
      'NoDNS NetworkPolicy x/p spec.egress',
    ],
    [
      'the port of a Service',
      [
        pod('w', { app: 'w' }, { containers: [{ ports: [{ containerPort: 8080 }] }] }),
        service('web', { clusterIP: '10.96.0.7', ports: [{ name: 'h', port: 80 }] }),
        slice('web', 8080, 'w'),
        np('p', { podSelector: { matchLabels: { app: 'w' } }, ingress: [{ from: [A], ports: [{ port: 80 }] }] }),
      ],
      'ServicePort NetworkPolicy x/p spec.ingress[0].ports[0]',
    ],
    [
      'the port of a Service, outward',
      [
        pod('w', { app: 'w' }, { containers: [{ ports: [{ containerPort: 8080 }] }] }),
        service('web', {
          type: 'NodePort',
          clusterIP: '10.96.0.7',
          ports: [{ name: 'h', port: 8000, nodePort: 30_080 }],
        }),
        slice('web', 8080, 'w'),
        np('p', egress({ to: [{ podSelector: { matchLabels: { app: 'w' } } }], ports: [{ port: 30_080 }] })),
      ],
      'ServicePort NetworkPolicy x/p spec.egress[0].ports[0]',
    ],
    [
      'equal rules, in another order of fields and lists',
      [
        np(
          'p',
          ingress(
            { from: [A, { namespaceSelector: {} }], ports: [{ port: 80 }, { port: 81, protocol: 'UDP' }] },
            {
              ports: [
                { protocol: 'UDP', port: 81 },
                { port: 80, protocol: 'TCP' },
              ],
              from: [{ namespaceSelector: {} }, A],
            },
          ),
        ),
      ],
      'DuplicateRule NetworkPolicy x/p spec.ingress[1]',
    ],
    [
      'equal policies',
      [np('p', ingress({ from: [A] })), np('q', ingress({ from: [A] }))],
      'DuplicatePolicy NetworkPolicy x/q spec',
    ],
    [
      'a name that no pod has',
      [np('p', ingress({ from: [A], ports: [{ port: 'wbe' }] }))],
      'NoSuchPort NetworkPolicy x/p spec.ingress[0].ports[0]',
    ],
    [
      'a name by another protocol',
      [np('p', egress({ to: [A], ports: [{ port: 'dgram' }] }))],
      'NoSuchPort NetworkPolicy x/p spec.egress[0].ports[0]',
    ],
    [
      'a namespace of which there is none',
      [np('p', ingress({ from: [{ namespaceSelector: { matchLabels: { ns: 'w' } } }] }))],
      'NoSuchNamespace NetworkPolicy x/p spec.ingress[0].from[0]',
    ],
    [
      'an empty list of destinations',
      [np('p', egress({ to: [], ports: [{ port: 80 }] }))],
      'EmptyList NetworkPolicy x/p spec.egress[0].to',
    ],
    [
      'endPort below port',
      [np('p', ingress({ from: [A], ports: [{ port: 80, endPort: 79 }] }))],
      'Unreadable NetworkPolicy x/p spec.ingress[0].ports[0].endPort',
    ],
    [
      'exceptions that cover their block',
      [np('p', ingress({ from: [{ ipBlock: { cidr: '::/0', except: ['::/1', '8000::/1'] } }] }))],
      'EmptyBlock NetworkPolicy x/p spec.ingress[0].from[0]',
    ],
  ])('%s', (_name, objects, wanted) => {
    expect(found(...objects)).toEqual([wanted]);
  });

  test('an AdminNetworkPolicy counts on manifests as its translation, and in a cluster not at all', () => {
    const admin: Raw = {
      apiVersion: 'policy.networking.k8s.io/v1alpha1',
      kind: 'AdminNetworkPolicy',
      metadata: { name: 'a' },
      spec: { priority: 1, subject: { namespaces: {} } },
    };
    const codes = (complete: boolean): string[] =>
      lint(viewOf(stateOfManifests([])), { others: [admin], complete }).map((f) => f.code);
    expect([codes(false), codes(true)]).toEqual([[], ['NotJudged']]);
  });

  test('policies of foreign kinds', () => {
    const foreign = (apiVersion: string, kind: string, name = 'f'): Raw => ({ apiVersion, kind, metadata: { name } });
    expect(
      said(
        foreign('cilium.io/v2', 'CiliumNetworkPolicy'),
        foreign('cilium.io/v2', 'CiliumNetworkPolicy', 'g'),
        foreign('crd.projectcalico.org/v1', 'GlobalNetworkPolicy'),
      ),
    ).toEqual([
      expect.stringMatching(/^warning NotJudged : 2 of this kind are in the input/),
      expect.stringMatching(/^warning NotJudged : 1 of this kind is in the input/),
    ]);
  });
});
