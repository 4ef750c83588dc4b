import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ApiError } from '../model/error.ts';
import { Operations } from '../operations.ts';
import { arr, at, type Json, strs } from '../model/path.ts';

// Each verdict and each field was compared with a kube-apiserver 1.34.

function cluster({ strict = true } = {}) {
  const ops = new Operations({ serviceCIDRs: ['10.96.0.0/16', 'fd00:10:96::/112'], families: [4, 6], strict });
  ops.create(ops.resources.kind('Namespace', ''), undefined, { metadata: { name: 'default' } });
  return ops;
}
/** Where an object is refused; undefined when it is stored. */
function fieldOf(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return error.causes[0]?.field ?? error.code;
  }
}
const typeOf = (ops: Operations, kind: string) => {
  const type = ops.resources.byKind(kind);
  if (!type) throw new RangeError(kind);
  return type;
};
const create = (ops: Operations, kind: string, o: Json, name = 'e') =>
  ops.create(typeOf(ops, kind), typeOf(ops, kind).namespaced ? 'default' : undefined, { metadata: { name }, ...o });
const patch = (ops: Operations, kind: string, name: string, body: Json) =>
  ops.patch(
    { type: typeOf(ops, kind), ...(typeOf(ops, kind).namespaced ? { namespace: 'default' } : {}), name },
    'application/merge-patch+json',
    body,
  );
const service = (spec: Json): Json => ({ spec: { ports: [{ port: 80 }], ...spec } });
const policy = (spec: Json): Json => ({ spec: { podSelector: {}, ...spec } });
const from = (peer: Json): Json => policy({ ingress: [{ from: [peer] }] });
const slice = (...addresses: string[]): Json => ({ addressType: 'IPv4', endpoints: [{ addresses }] });
const podOf = (...containers: Json[]): Json => ({
  spec: { containers: containers.map((c) => ({ name: 'c', image: 'x', ...c })) },
});

describe('objects of built-in kinds', () => {
  test.each<[string, string, Json, string | undefined]>([
    ['Service', 'an address of its own', service({ clusterIP: '10.96.0.78' }), undefined],
    ['Service', 'a taken address', service({ clusterIP: '10.96.0.77' }), 'spec.clusterIPs'],
    ['Service', 'an address out of range', service({ clusterIP: '10.99.0.77' }), 'spec.clusterIPs'],
    ['Service', 'no address', service({ clusterIP: 'x' }), 'spec.clusterIPs[0]'],
    ['Service', 'a free node port', service({ type: 'NodePort', ports: [{ port: 80, nodePort: 30124 }] }), undefined],
    [
      'Service',
      'a taken node port of another protocol',
      service({ type: 'NodePort', ports: [{ port: 80, nodePort: 30123, protocol: 'UDP' }] }),
      undefined,
    ],
    [
      'Service',
      'a taken node port',
      service({ type: 'NodePort', ports: [{ port: 80, nodePort: 30123 }] }),
      'spec.ports[0].nodePort',
    ],
    [
      'Service',
      'a node port out of range',
      service({ type: 'NodePort', ports: [{ port: 80, nodePort: 80 }] }),
      'spec.ports[0].nodePort',
    ],
    [
      'Service',
      'a node port without being one',
      service({ ports: [{ port: 80, nodePort: 30124 }] }),
      'spec.ports[0].nodePort',
    ],
    [
      'Service',
      'two ports of a name',
      service({
        ports: [
          { name: 'a', port: 80 },
          { name: 'a', port: 81 },
        ],
      }),
      'spec.ports[1].name',
    ],
    [
      'Service',
      'a port twice',
      service({
        ports: [
          { name: 'a', port: 80 },
          { name: 'b', port: 80 },
        ],
      }),
      'spec.ports[1]',
    ],
    [
      'Service',
      'a port for both protocols',
      service({
        ports: [
          { name: 'a', port: 80 },
          { name: 'b', port: 80, protocol: 'UDP' },
        ],
      }),
      undefined,
    ],
    ['Service', 'a type that is none', service({ type: 'Foo' }), 'spec.type'],
    ['Service', 'an affinity that is none', service({ sessionAffinity: 'Foo' }), 'spec.sessionAffinity'],
    [
      'Service',
      'an external policy that is none',
      service({ type: 'NodePort', externalTrafficPolicy: 'Foo' }),
      'spec.externalTrafficPolicy',
    ],
    ['Service', 'loopback outside', service({ externalIPs: ['127.0.0.1'] }), 'spec.externalIPs[0]'],
    ['Service', 'an external name', { spec: { type: 'ExternalName', externalName: 'a.b' } }, undefined],
    ['Service', 'an external name without one', { spec: { type: 'ExternalName' } }, 'spec.externalName'],
    ['Service', 'headless on node ports', service({ type: 'NodePort', clusterIP: 'None' }), 'spec.clusterIPs[0]'],
    ['Service', 'a named target', service({ ports: [{ port: 80, targetPort: 'http' }] }), undefined],
    [
      'Service',
      'a target that is none',
      service({ ports: [{ port: 80, targetPort: 'Not_A_Port' }] }),
      'spec.ports[0].targetPort',
    ],
    ['Service', 'a name that begins with a digit', { metadata: { name: '1e' }, ...service({}) }, 'metadata.name'],
    ['NetworkPolicy', 'a block', from({ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }), undefined],
    ['NetworkPolicy', 'no block', from({ ipBlock: { cidr: '10.0.0.0/33' } }), 'spec.ingress[0].from[0].ipBlock.cidr'],
    [
      'NetworkPolicy',
      'an exception outside',
      from({ ipBlock: { cidr: '10.0.0.0/8', except: ['11.0.0.0/8'] } }),
      'spec.ingress[0].from[0].ipBlock.except[0]',
    ],
    [
      'NetworkPolicy',
      'an exception of all',
      from({ ipBlock: { cidr: '10.0.0.0/8', except: ['10.0.0.0/8'] } }),
      'spec.ingress[0].from[0].ipBlock.except[0]',
    ],
    [
      'NetworkPolicy',
      'a block and pods',
      from({ ipBlock: { cidr: '10.0.0.0/8' }, podSelector: {} }),
      'spec.ingress[0].from[0]',
    ],
    ['NetworkPolicy', 'nobody', from({}), 'spec.ingress[0].from[0]'],
    ['NetworkPolicy', 'port 0', policy({ ingress: [{ ports: [{ port: 0 }] }] }), 'spec.ingress[0].ports[0].port'],
    ['NetworkPolicy', 'a range', policy({ egress: [{ ports: [{ port: 80, endPort: 90 }] }] }), undefined],
    [
      'NetworkPolicy',
      'a range backwards',
      policy({ ingress: [{ ports: [{ port: 80, endPort: 70 }] }] }),
      'spec.ingress[0].ports[0].endPort',
    ],
    [
      'NetworkPolicy',
      'a range from a name',
      policy({ ingress: [{ ports: [{ port: 'a', endPort: 70 }] }] }),
      'spec.ingress[0].ports[0].endPort',
    ],
    ['NetworkPolicy', 'a direction that is none', policy({ policyTypes: ['ingress'] }), 'spec.policyTypes[0]'],
    [
      'NetworkPolicy',
      'a selector without values',
      policy({ podSelector: { matchExpressions: [{ key: 'a', operator: 'In' }] } }),
      'spec.podSelector.matchExpressions[0].values',
    ],
    ['EndpointSlice', 'an endpoint', slice('10.1.1.1'), undefined],
    ['EndpointSlice', 'loopback', slice('127.0.0.1'), 'endpoints[0].addresses[0]'],
    ['EndpointSlice', 'link-local', slice('169.254.1.1'), 'endpoints[0].addresses[0]'],
    ['EndpointSlice', 'the other family', slice('fd00::1'), 'endpoints[0].addresses[0]'],
    ['EndpointSlice', 'no address', slice('x'), 'endpoints[0].addresses[0]'],
    ['EndpointSlice', 'none at all', slice(), 'endpoints[0].addresses'],
    [
      'Pod',
      'two host ports',
      podOf({
        ports: [
          { containerPort: 80, hostPort: 80 },
          { containerPort: 81, hostPort: 81 },
        ],
      }),
      undefined,
    ],
    [
      'Pod',
      'a host port twice',
      podOf({
        ports: [
          { containerPort: 80, hostPort: 80 },
          { containerPort: 81, hostPort: 80 },
        ],
      }),
      'spec.containers[*].ports[*].hostPort',
    ],
    ['Pod', 'two containers of a name', podOf({}, {}), 'spec.containers[1].name'],
    ['Service', 'target port 0, which is the port', service({ ports: [{ port: 80, targetPort: 0 }] }), undefined],
    ['Pod', 'a name of a container that is none', podOf({ name: 'C_x' }), 'spec.containers[0].name'],
    ['Pod', 'no image', podOf({ image: undefined }), 'spec.containers[0].image'],
    [
      'Pod',
      'another host port on the host network',
      {
        spec: {
          hostNetwork: true,
          containers: [{ name: 'c', image: 'x', ports: [{ containerPort: 80, hostPort: 81 }] }],
        },
      },
      'spec.containers[0].ports[0].hostPort',
    ],
    [
      'ConfigMap',
      'a finalizer without a domain',
      { metadata: { name: 'e', finalizers: ['x'] } },
      'metadata.finalizers[0]',
    ],
    [
      'ConfigMap',
      'an owner without uid',
      { metadata: { name: 'e', ownerReferences: [{ kind: 'Pod', name: 'x' }] } },
      'metadata.ownerReferences[0].uid',
    ],
    ['Deployment', 'an empty selector', { spec: { selector: {}, template: podOf({}) } }, 'spec.selector'],
    [
      'Deployment',
      'fewer pods than none',
      {
        spec: {
          replicas: -1,
          selector: { matchLabels: { a: 'b' } },
          template: { metadata: { labels: { a: 'b' } }, ...podOf({}) },
        },
      },
      'spec.replicas',
    ],
    ['ConfigMap', 'a number', { data: { a: 1 } }, 'data[a]'],
    ['Namespace', 'a dot', { metadata: { name: 'a.b' } }, 'metadata.name'],
  ])('%s with %s', (kind, _, object, field) => {
    const ops = cluster();
    create(ops, 'Service', service({ clusterIP: '10.96.0.77' }), 'a');
    create(ops, 'Service', service({ type: 'NodePort', ports: [{ port: 80, nodePort: 30123 }] }), 'na');
    expect(fieldOf(() => create(ops, kind, object))).toBe(field);
  });

  test.each<[string, string, Json, Json, string | undefined]>([
    [
      'Service',
      'its address',
      service({ clusterIP: '10.96.0.9' }),
      { spec: { clusterIP: '10.96.0.8', clusterIPs: ['10.96.0.8'] } },
      'spec.clusterIPs[0]',
    ],
    ['Service', 'its ports', service({}), { spec: { ports: [{ port: 81 }] } }, undefined],
    ['Pod', 'its image', podOf({}), podOf({ image: 'y' }), undefined],
    ['Pod', 'its labels', podOf({}), { metadata: { labels: { a: 'b' } } }, undefined],
    ['Pod', 'its containers', podOf({}), podOf({}, { name: 'd' }), 'spec.containers'],
    ['Pod', 'its ports', podOf({}), podOf({ ports: [{ containerPort: 1 }] }), 'spec'],
    ['Pod', 'its network', podOf({}), { spec: { hostNetwork: true } }, 'spec'],
    ['EndpointSlice', 'its family', slice('10.1.1.1'), { addressType: 'IPv6', endpoints: [] }, 'addressType'],
    ['EndpointSlice', 'its endpoints', slice('10.1.1.1'), slice('10.1.1.2'), undefined],
    [
      'Node',
      'its ranges',
      { spec: { podCIDR: '10.244.9.0/24', podCIDRs: ['10.244.9.0/24'] } },
      { spec: { podCIDR: '10.244.8.0/24' } },
      'spec.podCIDRs',
    ],
    [
      'Node',
      'its first ranges',
      { spec: {} },
      { spec: { podCIDR: '10.244.8.0/24', podCIDRs: ['10.244.8.0/24'] } },
      undefined,
    ],
  ])('of kind %s: to change %s', (kind, _, object, change, field) => {
    const ops = cluster();
    create(ops, kind, object);
    expect(fieldOf(() => patch(ops, kind, 'e', change))).toBe(field);
  });

  test('a selector of a workload never changes', () => {
    const ops = cluster();
    const labels = { a: 'b', c: 'd' };
    const spec = { selector: { matchLabels: { a: 'b' } }, template: { metadata: { labels }, ...podOf({}) } };
    create(ops, 'Deployment', { spec });
    expect(fieldOf(() => patch(ops, 'Deployment', 'e', { spec: { selector: { matchLabels: { c: 'd' } } } }))).toBe(
      'spec.selector',
    );
    expect(fieldOf(() => patch(ops, 'Deployment', 'e', { spec: { replicas: 3 } }))).toBeUndefined();
  });

  test('what is being deleted gets no new finalizers, and another uid is another object', () => {
    const ops = cluster();
    create(ops, 'ConfigMap', { metadata: { name: 'e', finalizers: ['x.y/z'] } });
    ops.delete({ type: typeOf(ops, 'ConfigMap'), namespace: 'default', name: 'e' });
    const finalizers = (...list: string[]) =>
      fieldOf(() => patch(ops, 'ConfigMap', 'e', { metadata: { finalizers: list } }));
    expect(finalizers('x.y/z', 'x.y/w')).toBe('metadata.finalizers');
    expect(fieldOf(() => patch(ops, 'ConfigMap', 'e', { metadata: { uid: 'x' } }))).toBe('Conflict');
    expect(finalizers()).toBeUndefined();
    expect(ops.store.get(typeOf(ops, 'ConfigMap'), 'default', 'e')).toBeUndefined();
  });

  test('a Service that changes its type loses what the old type brought', () => {
    const ops = cluster();
    create(ops, 'Service', service({ type: 'NodePort' }));
    const spec = () => ops.store.must(typeOf(ops, 'Service'), 'default', 'e')['spec'] as Json;
    const [ip] = strs(spec()['clusterIPs']);
    patch(ops, 'Service', 'e', { spec: { type: 'ClusterIP' } });
    expect(arr(spec()['ports'])[0]?.['nodePort']).toBeUndefined();
    expect([strs(spec()['clusterIPs']), spec()['externalTrafficPolicy']]).toEqual([[ip], undefined]);
    patch(ops, 'Service', 'e', { spec: { type: 'ExternalName', externalName: 'a.b' } });
    expect([spec()['clusterIP'], spec()['clusterIPs']]).toEqual([undefined, undefined]);
  });

  test('applied again with another port: a slice has that one, a Service both', () => {
    const ops = cluster();
    const apply = (kind: string, o: Json) =>
      ops.patch({ type: typeOf(ops, kind), namespace: 'default', name: 'e' }, 'application/apply-patch+yaml', {
        metadata: { name: 'e' },
        ...o,
      });
    const ports = (kind: string, path: readonly string[]) =>
      arr(at(ops.store.must(typeOf(ops, kind), 'default', 'e'), ...path)).map((p) => p['port']);
    for (const port of [80, 81]) {
      apply('EndpointSlice', { ...slice('10.1.1.1'), ports: [{ name: 'x', port }] });
      apply('Service', service({ ports: [{ name: `p${port}`, port }] }));
    }
    expect(ports('EndpointSlice', ['ports'])).toEqual([81]);
    expect(ports('Service', ['spec', 'ports'])).toEqual([80, 81]);
  });

  test('policies and slices are taken as they come, for tests of what is enforced without checks', () => {
    const ops = cluster({ strict: false });
    expect(fieldOf(() => create(ops, 'NetworkPolicy', from({ ipBlock: { cidr: 'nonsense' } })))).toBeUndefined();
    expect(fieldOf(() => create(ops, 'EndpointSlice', slice('127.0.0.1')))).toBeUndefined();
    expect(fieldOf(() => create(ops, 'Service', service({ type: 'Foo' })))).toBe('spec.type');
  });

  test('a NetworkPolicy says its directions and protocols', () => {
    const ops = cluster();
    create(ops, 'NetworkPolicy', policy({ ingress: [{ ports: [{ port: 80 }] }] }));
    create(ops, 'NetworkPolicy', policy({ egress: [{}] }), 'f');
    const spec = (name: string) => ops.store.must(typeOf(ops, 'NetworkPolicy'), 'default', name)['spec'];
    expect(spec('e')).toEqual({
      podSelector: {},
      ingress: [{ ports: [{ port: 80, protocol: 'TCP' }] }],
      policyTypes: ['Ingress'],
    });
    expect(at(spec('f'), 'policyTypes')).toEqual(['Ingress', 'Egress']);
  });
});

describe('addresses and node ports of Services', () => {
  const name = fc.constantFrom('a', 'b', 'c', 'd');
  const step = fc.oneof(
    fc.record({
      do: fc.constant('create' as const),
      name,
      type: fc.constantFrom('ClusterIP', 'NodePort'),
      dual: fc.boolean(),
    }),
    fc.record({ do: fc.constant('fixed' as const), name, ip: fc.constantFrom('10.96.1.0', '10.96.1.1', '10.96.0.5') }),
    fc.record({
      do: fc.constant('type' as const),
      name,
      type: fc.constantFrom('ClusterIP', 'NodePort', 'ExternalName'),
    }),
    fc.record({ do: fc.constant('delete' as const), name }),
  );

  test('are never of two Services at once, and always the lowest that is free', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const ops = cluster();
        const type = typeOf(ops, 'Service');
        const allOf = (pick: (s: Json) => readonly unknown[]) =>
          ops.store.list(type).flatMap((s) => pick(s['spec'] as Json));
        const ips = () => allOf((s) => strs(s['clusterIPs']));
        const ports = () =>
          allOf((s) => arr(s['ports']).flatMap((p) => (p['nodePort'] === undefined ? [] : [p['nodePort']])));
        for (const s of steps) {
          const taken = new Set(ips());
          if (s.do === 'create') {
            const spec = { type: s.type, ...(s.dual ? { ipFamilyPolicy: 'PreferDualStack' } : {}) };
            const there = ops.store.get(type, 'default', s.name) !== undefined;
            fieldOf(() => create(ops, 'Service', service(spec), s.name));
            const [ip] = strs((ops.store.must(type, 'default', s.name)['spec'] as Json)['clusterIPs']);
            const lowest = Array.from({ length: 20 }, (_, i) => `10.96.1.${i}`).find((x) => !taken.has(x));
            if (!there) expect(ip).toBe(lowest);
          } else if (s.do === 'fixed') {
            const refused = fieldOf(() => create(ops, 'Service', service({ clusterIP: s.ip }), s.name));
            if (taken.has(s.ip)) expect(refused).toBeDefined();
          } else if (s.do === 'type')
            fieldOf(() => patch(ops, 'Service', s.name, { spec: { type: s.type, externalName: 'a.b' } }));
          else fieldOf(() => ops.delete({ type, namespace: 'default', name: s.name }));
          expect(new Set(ips()).size).toBe(ips().length);
          expect(new Set(ports()).size).toBe(ports().length);
        }
      }),
    );
  });
});
