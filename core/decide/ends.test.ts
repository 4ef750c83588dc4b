import { describe, expect, test } from 'vitest';
import { exampleNamespace, examplePod, exampleService, exampleState } from '../cluster/example.ts';
import { type ClusterState, keyOf, type Pod } from '../cluster/state.ts';
import { viewOf } from '../view/view.ts';
import { askAbout, type Asked, type AskOptions, EndError } from './ends.ts';

const of = (namespace: string, name: string, host: number, rest: Partial<Pod> = {}): Pod => ({
  ...examplePod(namespace, name, 1, host),
  ips: [`10.244.1.${host}`, `fd00:10:244:1::${host}`],
  ports: [
    { name: 'http', protocol: 'TCP', port: 8080 },
    { name: 'dns', protocol: 'UDP', port: 5353 },
  ],
  ...rest,
});
const made = (kind: string, name: string): Partial<Pod> => ({ workload: { kind, name } });

const base = exampleState();
const pods = [
  of('flat', 'web-7d4b9-x1', 60, made('Deployment', 'web')),
  of('flat', 'web-7d4b9-x2', 61, made('Deployment', 'web')),
  of('flat', 'web-admin-1', 62, made('Deployment', 'web-admin')),
  of('flat', 'db-0', 63, made('StatefulSet', 'db')),
  of('flat', 'srv1', 64),
  of('flat', 'done', 65, { finished: true }),
  of('flat', 'host', 66, { hostNetwork: true, ips: ['192.0.2.11', '2001:db8:2::11'] }),
];
const node = (name: string, n: number) => ({
  ...base.nodes.get(name)!,
  addresses: [`192.0.2.${n}`, `2001:db8:2::${n}`],
});
const state: ClusterState = {
  ...base,
  namespaces: new Map(base.namespaces).set('shop', exampleNamespace('shop')),
  nodes: new Map([
    ['n1', node('n1', 11)],
    ['n2', node('n2', 12)],
  ]),
  pods: new Map([...base.pods, ...pods.map((p) => [keyOf(p), p] as const)]),
  services: new Map(base.services)
    .set('flat/srv', {
      ...exampleService('flat', 'srv', '10.96.1.9'),
      ports: [
        { name: 'web', protocol: 'TCP', port: 80 },
        { name: 'dns', protocol: 'UDP', port: 53 },
      ],
    })
    .set('flat/np', {
      ...exampleService('flat', 'np', '10.96.1.10'),
      type: 'NodePort',
      ports: [{ name: '', protocol: 'TCP', port: 80, nodePort: 30_080 }],
    })
    .set('flat/extname', { ...exampleService('flat', 'extname', ''), type: 'ExternalName', clusterIPs: [], ports: [] })
    .set('flat/headless', { ...exampleService('flat', 'headless', ''), clusterIPs: [] }),
};
const view = viewOf(state);
const ask = (from: string, to: string, options?: AskOptions): Asked => askAbout(view, from, to, options);
const problems = (from: string, to: string): readonly string[] => {
  try {
    ask(from, to);
    return [];
  } catch (error) {
    if (error instanceof EndError) return error.problems;
    throw error;
  }
};

describe('what two texts ask about', () => {
  test('both families, where both ends have both; one when it is asked for', () => {
    expect(ask('flat/srv1', 'flat/db-0:80').ways.map((w) => [w.family, w.address, w.ports])).toEqual([
      [4, '10.244.1.63', [{ port: 80, protocol: 'TCP' }]],
      [6, 'fd00:10:244:1::63', [{ port: 80, protocol: 'TCP' }]],
    ]);
    expect(ask('flat/srv1', 'svc/flat/srv').ways.map((w) => w.family)).toEqual([4]);
    expect(ask('flat/srv1', 'internet', { families: [6] }).ways.map((w) => w.address)).toEqual(['2001:db8::1']);
    expect(() => ask('flat/srv1', '10.0.0.1', { families: [6] })).toThrow(/IPv6 was asked for: no family is common/);
  });

  test.each([
    ['flat/db-0', 'pod flat/db-0', undefined],
    ['flat/web', 'pod flat/web-7d4b9-x1', /first of 2; the others: flat\/web-7d4b9-x2/],
    ['deploy/flat/web', 'pod flat/web-7d4b9-x1', /first of 2/],
    ['deploy/flat/web-admin', 'pod flat/web-admin-1', /is taken as pod/],
    ['sts/flat/db', 'pod flat/db-0', /is taken as pod/],
    ['rs/flat/web-7d4b9', 'pod flat/web-7d4b9-x1', /first of 2/],
    ['pod/flat/srv', 'pod flat/srv1', /is taken as pod flat\/srv1/],
    ['10.244.1.63', 'pod flat/db-0', undefined],
    ['node/n1', 'node n1', undefined],
    ['192.0.2.12', 'node n2', undefined],
    ['api', 'the API server', undefined],
    ['internet', 'the outside', undefined],
    ['203.0.113.9', '203.0.113.9', undefined],
    ['flat/host', 'pod flat/host (on the network of node n1)', undefined],
  ])('%s as the sender is %s', (text, name, note) => {
    const asked = ask(text, '10.96.1.9:80');
    expect(asked.from).toBe(name);
    if (note) expect(asked.notes.join('\n')).toMatch(note);
    else expect(asked.notes).toEqual([]);
  });

  test.each([
    ['flat/db-0:http', 'pod flat/db-0', '10.244.1.63', [[8080, 'TCP']]],
    ['flat/db-0:dns', 'pod flat/db-0', '10.244.1.63', [[5353, 'UDP']]],
    ['flat/db-0/icmp', 'pod flat/db-0', '10.244.1.63', [[0, 'ICMP']]],
    [
      'svc/flat/srv',
      'Service flat/srv',
      '10.96.1.9',
      [
        [80, 'TCP'],
        [53, 'UDP'],
      ],
    ],
    [
      'flat/srv',
      'Service flat/srv',
      '10.96.1.9',
      [
        [80, 'TCP'],
        [53, 'UDP'],
      ],
    ],
    ['svc/flat/srv:dns', 'Service flat/srv', '10.96.1.9', [[53, 'UDP']]],
    ['svc/flat/srv:53', 'Service flat/srv', '10.96.1.9', [[53, 'UDP']]],
    ['svc/flat/srv:81', 'Service flat/srv', '10.96.1.9', [[81, 'TCP']]],
    ['svc/flat/srv/udp', 'Service flat/srv', '10.96.1.9', [[53, 'UDP']]],
    ['api', 'the Kubernetes API', '10.96.0.1', [[443, 'TCP']]],
    ['node/n2:10250', 'node n2', '192.0.2.12', [[10250, 'TCP']]],
  ])('%s as the receiver is %s', (text, name, address, ports) => {
    const asked = ask('flat/p1', text);
    expect([asked.to, asked.ways[0]?.address, asked.ways[0]?.ports?.map((p) => [p.port, p.protocol])]).toEqual([
      name,
      address,
      ports,
    ]);
  });

  test("a Service's name goes before the beginning of a pod's, and what was taken is said", () => {
    expect(ask('flat/p1', 'flat/srv').notes).toEqual([
      'flat/srv is taken as Service flat/srv; pod/flat/srv means its pods',
    ]);
  });

  test('from outside, a Service is asked for by its node port', () => {
    const asked = ask('203.0.113.9', 'svc/flat/np');
    expect(asked.ways).toMatchObject([{ address: '192.0.2.11', ports: [{ port: 30_080, protocol: 'TCP' }] }]);
    expect(asked.notes.join()).toContain('node port 30080/TCP of node n1');
  });

  test('without a namespace: the one that is said, else default', () => {
    expect(ask('p1', 'db-0:80', { namespace: 'flat' }).to).toBe('pod flat/db-0');
    expect(problems('p1', 'flat/db-0').join()).toContain('there is no pod default/p1');
  });

  test.each([
    ['flat/extname', /is an ExternalName/],
    ['svc/flat/headless', /no cluster IP/],
    ['flat/done', /has finished/],
    ['svc/flat/none', /there is no Service flat\/none; there are/],
    ['node/n9', /there is no node n9; there are n1, n2/],
    ['flat/db-0:nope', /no port of the name nope; it has http, dns/],
    ['svc/flat/srv:nope', /no port of the name nope; it has web 80\/TCP, dns 53\/UDP/],
    ['10.0.0.1:http', /only pods and Services have names for ports/],
    ['flat/nobody', /there is no pod flat\/nobody; namespace flat has .*Write NAMESPACE\/POD/],
  ])('%s cannot be asked about', (to, message) => {
    expect(problems('flat/p1', to).join('\n')).toMatch(message);
  });

  test('all that is wrong with both ends is said at once', () => {
    expect(problems('svc/flat/srv', 'node/n9:99999/xyz')).toHaveLength(3);
    expect(problems('flat/p1:80', 'nobody/x')).toHaveLength(2);
  });
});
