import { describe, expect, test } from 'vitest';
import { exampleNetwork, exampleState } from '../cluster/example.ts';
import { readService } from '../read/objects.ts';
import type { ClusterState, EndpointSlice, Service } from '../cluster/state.ts';
import { viewOf } from '../view/view.ts';
import { compile } from '../node-config/compile.ts';
import { decide } from '../decide/decide.ts';
import { trace } from '../decide/trace.ts';

const example = exampleState();

describe('Services that kube-proxy passes over', () => {
  const spec = {
    clusterIP: '10.96.7.7',
    clusterIPs: ['10.96.7.7'],
    externalIPs: ['203.0.113.7'],
    type: 'NodePort',
    ports: [{ port: 80, nodePort: 30_080 }],
  };
  const service = (change: object, labels = {}): Service =>
    readService({ metadata: { namespace: 'a', name: 'x', labels }, spec: { ...spec, ...change } });
  const fronts = ({ clusterIPs, frontends, ports }: Service) => [clusterIPs, frontends, ports.map((p) => p.nodePort)];

  test.each([
    ['headless with external addresses', service({ clusterIP: 'None', clusterIPs: ['None'] })],
    ['ExternalName, with cluster IPs left in it', service({ type: 'ExternalName', externalName: 'example.com' })],
    ["another proxy's", service({}, { 'service.kubernetes.io/service-proxy-name': 'other' })],
    ['headless by its label', service({}, { 'service.kubernetes.io/headless': '' })],
  ])('%s', (_name, passedOver) => {
    expect(fronts(passedOver)).toEqual([[], [], [undefined]]);
    const state = { ...example, services: new Map([['a/x', passedOver]]) };
    expect(compile(viewOf(state), 'n1').service.get('a/x')).toMatchObject({ clusterIPs: [], exposed: false });
  });

  test('any other is served; a node port only of a type that has node ports', () => {
    expect(fronts(service({}))).toEqual([['10.96.7.7'], [{ ip: '203.0.113.7' }], [30_080]]);
    expect(fronts(service({ type: 'ClusterIP' }))).toEqual([['10.96.7.7'], [{ ip: '203.0.113.7' }], [undefined]]);
  });
});

describe('node ports', () => {
  const nodePort = (key: string, port: number, change: Partial<Service> = {}): [string, Service] => {
    const service = example.services.get(key)!;
    return [key, { ...service, type: 'NodePort', ports: [{ ...service.ports[0]!, nodePort: port }], ...change }];
  };
  const onlyAt = (node: string, slice: EndpointSlice): EndpointSlice => ({
    ...slice,
    endpoints: slice.endpoints.filter((e) => e.node === node),
  });
  const stateWith = (change: Partial<Service>, sliceChange = (s: EndpointSlice) => s): ClusterState => ({
    ...example,
    nodes: new Map(
      [...example.nodes].map(([key, n]) => [key, { ...n, further: [`198.51.100.${key.replace('n', '')}`] }]),
    ),
    services: new Map([...example.services, nodePort('a/web', 30_080, change), nodePort('b/web', 30_081)]),
    slices: new Map([...example.slices].map(([key, s]) => [key, key === 'a/web-ipv4' ? sliceChange(s) : s])),
  });
  const ask = (state: ClusterState, from: string, address: string, port = 30_080, protocol: 'TCP' | 'UDP' = 'TCP') => {
    const view = viewOf(state);
    const target = { address, port, protocol };
    const decision = decide(view, state.pods.get(from)!, target);
    const told = trace(view, state.pods.get(from)!, target);
    expect(told.verdict).toBe(decision.verdict);
    return { verdict: decision.verdict, why: decision.why, last: told.steps.at(-1)?.what };
  };
  const open = stateWith({});

  test.each(['192.0.2.11', '192.0.2.12', '198.51.100.1', '198.51.100.2'])(
    "a network's pods use its own, at %s of either node, and no other",
    (address) => {
      for (const from of ['a/p1', 'a/p2']) {
        expect(ask(open, from, address)).toMatchObject({
          verdict: 'open',
          why: expect.stringContaining('never leaves it'),
        });
        expect(ask(open, from, address, 30_081).verdict).toBe('rejected');
        expect(ask(open, from, address, 30_080, 'UDP').verdict).toBe('rejected');
        expect(ask(open, from, address, 10_250).verdict).toBe('rejected');
      }
      expect(ask(open, 'b/p1', address).verdict).toBe('rejected');
      expect(ask(open, 'b/p1', address, 30_081).verdict).toBe('open');
      expect(ask(open, 'flat/p1', address).verdict).toBe('open');
    },
  );

  test('the trace shows the translation in the instance, to either backend', () => {
    const steps = trace(viewOf(open), open.pods.get('a/p1')!, {
      address: '192.0.2.12',
      port: 30_080,
      protocol: 'TCP',
    }).steps;
    expect(steps.map((s) => `${s.where}: ${s.what} (${s.by})`).join('\n')).toMatch(
      /chain nat_pre: translated to 10\.244\.1\.5:8080 or 10\.244\.2\.5:8080 \(node port of Service a\/web\)/,
    );
  });

  test('externalTrafficPolicy Local is about packets from outside', () => {
    const state = stateWith({ externalTrafficPolicy: 'Local' }, (s) => onlyAt('n2', s));
    expect(ask(state, 'a/p1', '192.0.2.11').verdict).toBe('open');
    expect(ask(state, 'flat/p1', '192.0.2.11').verdict).toBe('open'); // kube-proxy of its own node
    expect(ask(state, 'flat/p2', '192.0.2.11')).toMatchObject({
      verdict: 'closed', // node n2 sends it on with its own address
      why: expect.stringMatching(/no endpoint on node n1, and externalTrafficPolicy is Local/),
    });
    expect(ask(state, 'flat/p1', '192.0.2.12').verdict).toBe('open');
  });

  test('internalTrafficPolicy Local is about cluster IPs', () => {
    const state = stateWith({ internalTrafficPolicy: 'Local' }, (s) => onlyAt('n2', s));
    expect(ask(state, 'a/p1', '192.0.2.11').verdict).toBe('open');
    expect(ask(state, 'a/p1', '10.96.1.1', 80).verdict).toBe('rejected');
    expect(ask(state, 'a/p2', '10.96.1.1', 80).verdict).toBe('open');
  });

  test('without an endpoint, and of a family that the Service does not have: rejected', () => {
    const none = stateWith({}, (s) => ({ ...s, endpoints: [] }));
    for (const from of ['a/p1', 'flat/p1'])
      expect(ask(none, from, '192.0.2.11')).toMatchObject({
        verdict: 'rejected',
        why: expect.stringContaining('no ready endpoint'),
      });
    expect(ask(stateWith({ clusterIPs: ['fd00:10:96::7'] }), 'a/p1', '192.0.2.11').verdict).toBe('rejected');
  });

  test('nodePortAccess External leaves its own pods in', () => {
    const networks = new Map(open.networks).set(
      'a/default',
      exampleNetwork('a', 'default', 2, { services: { nodePortAccess: 'External' } }),
    );
    const state = { ...open, networks };
    expect(ask(state, 'a/p1', '192.0.2.12').verdict).toBe('open');
    expect(ask(state, 'flat/p1', '192.0.2.12').verdict).toBe('rejected');
  });
});
