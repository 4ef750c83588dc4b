import { describe, expect, test } from 'vitest';
import { A, all, cnp, egress, found, ingress, np, pod, said, service, slice } from '../../test/policy/lint-objects.ts';
import type { Raw } from '../read/objects.ts';
import { stateOfManifests } from '../view/from-manifests.ts';
import { viewOf } from '../view/view.ts';
import { lint } from './lint.ts';

describe('what is no mistake is an info', () => {
  test.each<[string, Raw[], RegExp]>([
    ['every peer, on purpose', [np('p', ingress({}))], /^info OpenToTheWorld spec\.ingress\[0\]/],
    ['ports alone', [np('p', ingress({ ports: [{ port: 80 }] }))], /^info OpenToTheWorld spec\.ingress\[0\]/],
    [
      'a peer of the host network',
      [
        pod('n', { app: 'node-exporter' }, { hostNetwork: true }),
        np('p', ingress({ from: [{ podSelector: { matchLabels: { app: 'node-exporter' } } }] })),
      ],
      /^info HostNetwork spec\.ingress\[0\]\.from\[0\]: .*x\/n/,
    ],
    [
      'a policy for pods of the host network',
      [
        pod('n', { app: 'node-exporter' }, { hostNetwork: true }),
        np('p', { podSelector: { matchLabels: { app: 'node-exporter' } }, ingress: [{ from: [A] }] }),
      ],
      /^info HostNetwork spec\.podSelector/,
    ],
    [
      'pods that have ended',
      [
        pod('j', { app: 'job' }, {}, { phase: 'Succeeded' }),
        np('p', { podSelector: { matchLabels: { app: 'job' } }, ingress: [{ from: [A] }] }),
      ],
      /^info Finished spec\.podSelector/,
    ],
    [
      'pods of a custom object that has their labels',
      [
        {
          apiVersion: 'monitoring.coreos.com/v1',
          kind: 'Prometheus',
          metadata: { name: 'k8s', namespace: 'x', labels: { 'app.kubernetes.io/name': 'prometheus' } },
        },
        np('p', ingress({ from: [{ podSelector: { matchLabels: { 'app.kubernetes.io/name': 'prometheus' } } }] })),
      ],
      /^info MadeAtRunTime spec\.ingress\[0\]\.from\[0\]: .*Prometheus x\/k8s/,
    ],
    [
      'pods by a label of a group that the input defines',
      [
        {
          apiVersion: 'apiextensions.k8s.io/v1',
          kind: 'CustomResourceDefinition',
          metadata: { name: 'engines.example.org' },
          spec: { group: 'example.org' },
        },
        np('p', { podSelector: { matchLabels: { 'example.org/component': 'engine' } }, ingress: [{ from: [A] }] }),
      ],
      /^info MadeAtRunTime spec\.podSelector/,
    ],
    [
      'pods that an operator of the input makes',
      [
        pod('op', { app: 'rook-ceph-operator' }),
        np('p', ingress({ from: [{ podSelector: { matchLabels: { app: 'rook-ceph-osd' } } }] })),
      ],
      /^info MadeAtRunTime .*rook-ceph-operator/,
    ],
    [
      'the address that the API usually has, where no Service tells of the range',
      [np('p', egress({ to: [{ ipBlock: { cidr: '10.96.0.1/32' } }], ports: [{ port: 443 }] }))],
      /^info ServiceByAddress spec\.egress\[0\]\.to\[0\]: most clusters/,
    ],
    [
      'a namespace that is not in the input',
      [
        np(
          'p',
          ingress({
            from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'ingress-nginx' } } }],
          }),
        ),
      ],
      /^info NoSuchNamespace .*ingress-nginx/,
    ],
    [
      'the name of a port of DNS of any namespace',
      [
        np('p', {
          podSelector: {},
          policyTypes: ['Egress'],
          egress: [
            {
              to: [{ namespaceSelector: {} }],
              ports: [
                { port: 'dns', protocol: 'UDP' },
                { port: 53, protocol: 'UDP' },
              ],
            },
          ],
        }),
      ],
      /^info NoSuchPort spec\.egress\[0\]\.ports\[0\]/,
    ],
    [
      'DNS of any namespace, where the input has no DNS',
      [
        np('p', {
          podSelector: {},
          policyTypes: ['Egress'],
          egress: [
            {
              to: [{ namespaceSelector: {}, podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } } }],
              ports: [{ port: 53, protocol: 'UDP' }],
            },
          ],
        }),
      ],
      /^info MatchesNothing spec\.egress\[0\]\.to\[0\]: matches no pod of the input/,
    ],
    [
      'a namespace that is not in the input, by a label of its own',
      [np('p', ingress({ from: [{ namespaceSelector: { matchLabels: { purpose: 'ingress' } } }] }))],
      /^info NoSuchNamespace /,
    ],
  ])('%s', (_name, objects, wanted) => {
    expect(said(...objects)).toEqual([expect.stringMatching(wanted)]);
  });

  test('the rules of a policy whose pods are not in the input are looked at', () => {
    const policy = np('p', {
      podSelector: {},
      policyTypes: ['Ingress', 'Egress'],
      ingress: [{ from: [{ namespaceSelector: {} }] }, { from: [{ namespaceSelector: {} }] }, { from: [] }],
      egress: [{ to: [{ ipBlock: { cidr: '192.0.2.0/24' } }], ports: [{ port: 443 }] }],
    });
    const elsewhere = { ...policy, metadata: { name: 'p', namespace: 'elsewhere' } };
    expect(said(elsewhere).map((f) => f.split(':')[0])).toEqual([
      'info NoPods spec.podSelector',
      'warning DuplicateRule spec.ingress[1]',
      'warning OpenToTheWorld spec.ingress[2]',
      'warning NoDNS spec.egress',
    ]);
  });

  test('a block of hosts outside, one of them a load balancer, is none of Services', () => {
    const balanced = {
      ...service('lb', {
        clusterIP: '10.96.3.3',
        type: 'LoadBalancer',
        externalIPs: ['198.51.100.7'],
        ports: [{ port: 80 }],
      }),
      status: { loadBalancer: { ingress: [{ ip: '203.0.113.80' }] } },
    };
    const from = (cidr: string) => np('p', ingress({ from: [{ ipBlock: { cidr } }] }));
    for (const cidr of ['203.0.113.0/24', '198.51.100.0/28']) expect(said(balanced, from(cidr))).toEqual([]);
    expect(said(balanced, from('203.0.113.80/32'))).toEqual([expect.stringMatching(/^warning ServiceByAddress/)]);
    expect(said(balanced, from('10.96.3.0/24'))).toEqual([expect.stringMatching(/^warning ServiceByAddress/)]);
  });

  test('of no pods at all: no named port and no peer is called wrong', () => {
    const policy = np('p', {
      podSelector: { matchLabels: { app: 'web' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: 'api' } } }], ports: [{ port: 'http' }] }],
    });
    expect(lint(viewOf(stateOfManifests([policy]))).map((f) => `${f.severity} ${f.code}`)).toEqual([
      'info NoPods',
      'info NoPods',
    ]);
  });

  test('NetworkPolicies that admit the same need not know of each other', () => {
    const wide = np('all', ingress({ from: [{ namespaceSelector: {} }] }));
    expect(said(wide, np('narrow', ingress({ from: [A] })))).toEqual([
      expect.stringMatching(/^info NeverDecides spec\.ingress\[0\]: .*NetworkPolicy x\/all ingress\[0\]/),
    ]);
  });
});

describe('what is meant', () => {
  test('another policy lets DNS out', () => {
    const dns = np('dns', egress());
    const own = np('p', {
      podSelector: A.podSelector,
      policyTypes: ['Egress'],
      egress: [{ to: [A], ports: [{ port: 80 }] }],
    });
    expect(found(dns, own)).toEqual([]);
  });

  test('a rule with both ports of a Service', () => {
    const both = { from: [A], ports: [{ port: 80 }, { port: 8080 }] };
    expect(
      found(
        pod('w', { app: 'w' }, { containers: [{ ports: [{ containerPort: 8080 }] }] }),
        service('web', { clusterIP: '10.96.0.7', ports: [{ name: 'h', port: 80 }] }),
        slice('web', 8080, 'w'),
        np('p', { podSelector: { matchLabels: { app: 'w' } }, ingress: [both] }),
      ),
    ).toEqual([]);
  });

  test('Pass has a say', () => {
    const rules = [{ action: 'Pass', from: [{ namespaces: {} }] }];
    expect(found(cnp('p', { ingress: rules }))).toEqual([]);
  });

  test('a wider prefix after a narrower one that begins with it', () => {
    const [narrow, wide] = ['192.0.2.0/25', '192.0.2.0/24'].map((cidr) => ({ from: [{ ipBlock: { cidr } }] }));
    expect(found(np('p', ingress(narrow as object, wide as object)))).toEqual([]);
  });

  test('a pod that asks for its address', () => {
    const own = pod('d', {}, {}, { podIPs: [{ ip: '10.1.2.3' }] });
    const asks = { ...own, metadata: { name: 'd', namespace: 'x', annotations: { 'bulkhead.dev/ips': '10.1.2.3' } } };
    expect(found(asks, np('p', ingress({ from: [{ ipBlock: { cidr: '10.1.2.3/32' } }] })))).toEqual([]);
  });

  test('codes are switched off by an annotation', () => {
    const policy = np('p', { podSelector: { matchLabels: { pod: 'none' } }, ...{ ingress: [{}] } });
    const off = { name: 'p', namespace: 'x', annotations: { 'bulkhead.dev/lint-disable': 'SelectsNothing, NoDNS' } };
    expect(all(policy).map((f) => f.code)).toEqual(['SelectsNothing', 'OpenToTheWorld']);
    expect(all({ ...policy, metadata: off }).map((f) => f.code)).toEqual(['OpenToTheWorld']);
  });
});

test('what is written almost right is told', () => {
  const peer = (namespaceSelector: object): Raw => np('p', ingress({ from: [{ namespaceSelector }] }));
  expect(
    [
      np('p', { podSelector: { matchLabels: { pdo: 'a' } } }),
      np('p', { podSelector: { matchLabels: { tier: 'frontned' } } }),
      np('p', { podSelector: { matchLabels: { tier: 'some-operatr' } } }),
      peer({ matchLabels: { nss: 'y' } }),
      peer({ matchLabels: { 'kubernetes.io/metadata.name': 'monitorign' } }),
    ].map(
      (policy) =>
        all(
          pod('f', { tier: 'frontend' }),
          pod('o', { tier: 'some-operator' }),
          { kind: 'Namespace', metadata: { name: 'monitoring' } },
          policy,
        ).find((f) => f.severity === 'warning')?.message,
    ),
  ).toEqual([
    'selects no pod; is label pod meant?',
    'selects no pod; is tier: frontend meant?',
    'selects no pod; is tier: some-operator meant?',
    'matches no namespace of the input; is label ns meant?',
    'matches no namespace of the input (monitorign); is kubernetes.io/metadata.name: monitoring meant?',
  ]);
});
