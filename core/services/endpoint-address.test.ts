import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { examplePod, exampleService, exampleSlice, exampleState } from '../cluster/example.ts';
import { refusedExternalIPs } from '../admission/external-ips.ts';
import { readSettings } from '../read/objects.ts';
import type { ClusterState, SliceEndpoint } from '../cluster/state.ts';
import { viewOf } from '../view/view.ts';
import { serviceItem } from './backends.ts';
import type { Translator } from './endpoint-address.ts';

const base = exampleState();
const host = { ...examplePod('kube-system', 'host', 1, 0), hostNetwork: true, ips: ['192.0.2.11'] };
const ownHost = { ...examplePod('flat', 'host', 1, 0), hostNetwork: true, ips: ['192.0.2.11'] };
const done = { ...examplePod('flat', 'done', 1, 99), finished: true };
const pods = new Map(base.pods).set('kube-system/host', host).set('flat/host', ownHost).set('flat/done', done);

const endpoint = (ip: string, pod = ''): SliceEndpoint => ({
  ip,
  pod,
  node: '',
  ready: true,
  serving: true,
  terminating: false,
});

/** What a Service with one hand-written endpoint leads to. */
function leadsTo(
  namespace: string,
  network: string,
  e: SliceEndpoint,
  { by = 'instance' as Translator, change = {} as Partial<ClusterState> } = {},
): string[] {
  const slice = { ...exampleSlice(namespace, 'web', []), endpoints: [e] };
  const state = { ...base, pods, slices: new Map(base.slices).set(`${namespace}/web-ipv4`, slice), ...change };
  const service = state.services.get(`${namespace}/web`)!;
  return serviceItem(viewOf(state), service, network, by).ports.flatMap((p) => p.backends.map((b) => b.ip));
}

describe('a hand-written endpoint', () => {
  test.each([
    ['the controller', '192.0.2.3', ''],
    ['a node, for its kubelet or agent', '192.0.2.11', ''],
    ['a host outside', '203.0.113.10', ''],
    ['.0 of a node', '10.244.1.0', ''],
    ['the probe source', '10.244.1.1', ''],
    ['the API server', '192.0.2.2', ''],
    ['a pod of another network', '10.244.1.21', ''],
    ['a pod that is not there', '10.244.1.77', 'flat/gone'],
    ['a flat pod that has another address', '10.244.1.21', 'flat/p1'],
    ['a flat pod, with the address of a host outside', '203.0.113.10', 'flat/p1'],
    ['a pod on the host, of another namespace', '192.0.2.11', 'kube-system/host'],
    ['a pod on the host, with another node’s address', '192.0.2.12', 'flat/host'],
    ['a finished pod', '10.244.1.99', 'flat/done'],
    ['a cluster IP', '10.96.0.1', ''],
  ])('behind a flat Service of an allow list: %s does not count', (_, ip, pod) => {
    expect(leadsTo('flat', 'default-network', endpoint(ip, pod))).toEqual([]);
  });

  test.each([
    ['a flat pod', '10.244.1.37', 'flat/p1'],
    ['a flat pod that it does not name', '10.244.1.37', ''],
    ['a pod on the host, of its own namespace', '192.0.2.11', 'flat/host'],
  ])('behind a flat Service of an allow list: %s counts', (_, ip, pod) => {
    expect(leadsTo('flat', 'default-network', endpoint(ip, pod))).toEqual([ip]);
  });

  test('addresses that the administrator lists count, and nodes, pods and Services never', () => {
    const settings = readSettings({ spec: { services: { podlessEndpoints: ['203.0.113.0/24', '0.0.0.0/0'] } } })!;
    const may = (ip: string) => leadsTo('flat', 'default-network', endpoint(ip), { change: { settings } }).length === 1;
    expect(['203.0.113.10', '192.0.2.3'].map(may)).toEqual([true, true]);
    expect(['192.0.2.11', '10.244.1.1', '10.244.9.9', '10.96.0.10'].map(may)).toEqual([false, false, false, false]);
  });

  test('the API server’s own slice is believed, another one in its namespace is not', () => {
    const api = base.services.get('default/kubernetes')!;
    const own = base.slices.get('default/kubernetes')!;
    const forged = {
      ...own,
      name: 'more',
      endpoints: [endpoint('192.0.2.12'), endpoint('203.0.113.10'), endpoint('192.0.2.2')],
    };
    const six = { ...own, name: 'kubernetes-ipv6', family: 6 as const, endpoints: [endpoint('2001:db8:2::2')] };
    const view = viewOf({ ...base, slices: new Map(base.slices).set('default/more', forged).set('default/six', six) });
    expect(serviceItem(view, api, 'default-network').ports.flatMap((p) => p.backends.map((b) => b.ip))).toEqual([
      '192.0.2.2',
      '2001:db8:2::2',
    ]);
  });

  test('behind a network’s own Service the gate decides, and a pod of another network is none of it', () => {
    expect(leadsTo('a', 'a/default', endpoint('203.0.113.10'))).toEqual(['203.0.113.10']);
    expect(leadsTo('a', 'a/default', endpoint('10.244.1.5', 'a/p1'))).toEqual(['10.244.1.5']);
    for (const e of [
      endpoint('10.244.1.21'),
      endpoint('10.244.1.21', 'b/p1'),
      endpoint('10.244.1.21', 'a/p1'),
      endpoint('192.0.2.11', 'flat/host'),
    ])
      expect(leadsTo('a', 'a/default', e)).toEqual([]);
  });

  test('kube-proxy translates to what is written, and gates judge behind it', () => {
    expect(leadsTo('flat', 'default-network', endpoint('203.0.113.10'), { by: 'kube-proxy' })).toEqual([
      '203.0.113.10',
    ]);
  });

  test('whatever is written, an allow list never leads to a node, another network’s pod, or the outside', () => {
    const flat = new Set(['10.244.1.37', '10.244.2.37']);
    const anyIp = fc.oneof(
      fc.ipV4(),
      fc.constantFrom(
        '192.0.2.11',
        '192.0.2.12',
        '192.0.2.2',
        '10.244.1.0',
        '10.244.1.1',
        ...[...pods.values()].flatMap((p) => p.ips),
      ),
    );
    const anyPod = fc.constantFrom('', 'x/y', '/', ...[...pods.keys()].filter((k) => k !== 'flat/host'));
    fc.assert(
      fc.property(anyIp, anyPod, (ip, pod) => {
        for (const found of leadsTo('flat', 'default-network', endpoint(ip, pod))) expect(flat.has(found)).toBe(true);
      }),
    );
  });
});

describe('outer addresses of Services', () => {
  const settings = readSettings({
    spec: { services: { externalIPs: ['198.51.100.0/24', '10.0.0.0/8', '192.0.2.0/24'] } },
  })!;
  const withServices = (...services: ReturnType<typeof exampleService>[]) =>
    viewOf({
      ...base,
      settings,
      services: new Map([...base.services, ...services.map((s) => [`${s.namespace}/${s.name}`, s] as const)]),
    });
  const outer = (name: string, created: number, external: string[], balanced: string[] = []) => ({
    ...exampleService('a', name, `10.96.7.${created}`),
    created,
    externalIPs: external.length,
    frontends: [...external, ...balanced].map((ip) => ({ ip })),
  });
  const gets = (view: ReturnType<typeof viewOf>, name: string) =>
    view.state.services.get(`a/${name}`)?.frontends.map((f) => f.ip);

  test.each([
    ['203.0.113.10', /services\.externalIPs/],
    ['10.96.1.2', /the cluster IP of Service b\/web/],
    ['10.96.0.10', /the cluster IP of Service kube-system\/kube-dns/],
    ['10.96.99.99', /the Service range/],
    ['10.244.1.21', /the pod range/],
    ['192.0.2.11', /an address of node n1/],
  ])('an external address %s is never served', (ip, why) => {
    const view = withServices(outer('x', 5, [ip]));
    expect(gets(view, 'x')).toEqual([]);
    expect(view.unserved.get('a/x')?.join()).toMatch(why);
    expect(serviceItem(view, view.state.services.get('a/x')!, 'a/default').exposed).toBe(false);
  });

  test('a listed one is; a load balancer’s too, unless it is of a Service or a pod; the older of two keeps it', () => {
    const view = withServices(
      outer('x', 5, ['198.51.100.7'], ['203.0.113.80', '10.96.1.2', '192.0.2.11']),
      outer('young', 6, ['198.51.100.7']),
      outer('y', 4, ['198.51.100.8']),
    );
    expect(gets(view, 'x')).toEqual(['198.51.100.7', '203.0.113.80', '192.0.2.11']);
    expect(gets(view, 'young')).toEqual([]);
    expect(view.unserved.get('a/young')?.join()).toMatch(/belongs to Service a\/x on this port already/);
    expect(gets(view, 'y')).toEqual(['198.51.100.8']);
  });

  test('at admission: what a request adds, and not what stands there already', () => {
    const view = withServices(outer('x', 5, ['198.51.100.7']));
    const service = (externalIPs: string[]) => ({
      metadata: { name: 'new', namespace: 'a' },
      spec: { clusterIPs: ['10.96.9.9'], ports: [{ port: 80 }], externalIPs },
    });
    const refused = (now: string[], before?: string[]) =>
      refusedExternalIPs(view, 'a', service(now), before && service(before)).map(({ ip }) => ip);
    expect(refused(['198.51.100.9'])).toEqual([]);
    expect(refused(['203.0.113.10', '198.51.100.7', '10.96.0.10', '192.0.2.11', '198.51.100.9'])).toEqual([
      '203.0.113.10',
      '198.51.100.7',
      '10.96.0.10',
      '192.0.2.11',
    ]);
    expect(refused(['203.0.113.10', '198.51.100.9'], ['203.0.113.10'])).toEqual([]);
    expect(refused(['203.0.113.10', '203.0.113.11'], ['203.0.113.10'])).toEqual(['203.0.113.11']);
  });
});
