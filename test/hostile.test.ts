import fc from 'fast-check';
import { expect, test } from 'vitest';
import { planWrites, planEvents } from '../controller/allocate/plan.ts';
import { planSubnetBlocks } from '../controller/allocate/subnet-blocks.ts';
import { exampleState } from '../core/cluster/example.ts';
import { readNetwork, readPod, readService } from '../core/read/objects.ts';
import { keyOf } from '../core/cluster/state.ts';
import { viewOf } from '../core/view/view.ts';
import { compile } from '../core/node-config/compile.ts';
import { topologyOf } from '../core/topology/topology.ts';

// Whatever somebody stores, the controller lives, and everybody else's network is as it was.

const junk = fc.oneof(fc.jsonValue(), fc.string(), fc.integer());
const cidr = fc.oneof(
  fc.constantFrom(
    '10.20.0.0/24',
    '10.20.0.128/25',
    '10.244.1.0/26',
    '0.0.0.0/0',
    'fd00:20::/64',
    '::/0',
    '10.96.0.0/20',
    'x',
    '10.0.0.1/8',
  ),
  fc.string(),
);
const network = fc.record(
  {
    subnets: fc.oneof(fc.array(cidr, { maxLength: 4 }), junk),
    staticPrefixes: fc.oneof(fc.array(cidr, { maxLength: 2 }), junk),
    egress: fc.oneof(
      fc.record(
        {
          mode: fc.constantFrom('None', 'NAT', 'Routed', '?'),
          addresses: fc.array(fc.oneof(fc.ipV4(), fc.ipV6(), fc.string()), { maxLength: 3 }),
          allow: fc.array(fc.record({ cidr }), { maxLength: 2 }),
        },
        { requiredKeys: [] },
      ),
      junk,
    ),
    services: fc.oneof(fc.record({ access: fc.constantFrom('AllowList', 'DefaultNetwork') }), junk),
    sharedWith: junk,
    mtu: junk,
  },
  { requiredKeys: [] },
);
const annotations = fc.dictionary(
  fc.constantFrom(
    'bulkhead.dev/network',
    'bulkhead.dev/ips',
    'bulkhead.dev/mac',
    'bulkhead.dev/open-ports',
    'bulkhead.dev/open-to',
    'k8s.v1.cni.cncf.io/networks',
    'k8s.v1.cni.cncf.io/network-status',
  ),
  fc.oneof(
    fc.constantFrom('default', 'bad', 'bad@net1,bad', '10.20.0.5', '8080', '*', '[{"name":"bad","ips":["10.20.0.9"]}]'),
    fc.string(),
    fc.json(),
  ),
);

test('10 000 generated networks, pods and Services never crash the controller, and change nothing for others', () => {
  const clean = JSON.stringify(
    [...compile(viewOf(exampleState()), 'n1').network.values()].filter((n) => n.key === 'b/default'),
  );
  let refused = 0;
  fc.assert(
    fc.property(fc.oneof(network, junk), annotations, annotations, (spec, onPod, onService) => {
      const base = exampleState();
      const bad = readNetwork({ metadata: { namespace: 'c', name: 'bad', uid: 'c/bad' }, spec, status: { vni: 77 } });
      refused += bad.spec ? 0 : 1;
      const pod = readPod({
        metadata: { namespace: 'c', name: 'p', uid: 'c-p', annotations: onPod },
        spec: { nodeName: 'n1' },
      });
      const service = readService({
        metadata: { namespace: 'c', name: 's', annotations: onService },
        spec: { clusterIPs: ['10.96.9.9'], ports: [{ port: 80 }] },
      });
      const view = viewOf({
        ...base,
        namespaces: new Map(base.namespaces).set('c', {
          name: 'c',
          uid: 'c',
          labels: {},
          annotations: {},
          deleting: false,
        }),
        networks: new Map(base.networks).set(keyOf(bad), bad),
        pods: new Map(base.pods).set(keyOf(pod), pod),
        services: new Map(base.services).set(keyOf(service), service),
      });
      const told = compile(view, 'n1');
      planWrites(view, {
        stored: new Map(),
        usage: new Map(),
        reported: new Set(),
        promised: new Map(),
        returned: new Set(),
        exhausted: new Map(),
        alive: new Set(['n1']),
      });
      planEvents(view);
      planSubnetBlocks(view, new Map(), new Map());
      topologyOf(view);
      expect(JSON.stringify([...told.network.values()].filter((n) => n.key === 'b/default'))).toBe(clean);
      if (!bad.spec) expect(told.network.has('c/bad')).toBe(false);
    }),
    { numRuns: 10_000 },
  );
  expect(refused).toBeGreaterThan(1_000);
}, 120_000);
