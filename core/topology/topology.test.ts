import { expect, test } from 'vitest';
import { virtualNetworkRouterSpec } from '../../api/kinds/virtual-network-router.ts';
import { exampleState } from '../cluster/example.ts';
import { viewOf } from '../view/view.ts';
import { toDot, toMermaid, topologyOf } from './topology.ts';

const router = {
  namespace: 'a',
  name: 'r',
  uid: 'r',
  generation: 1,
  deleting: false,
  labels: {},
  problems: [],
  spec: virtualNetworkRouterSpec.parse({
    virtualNetworks: ['default', 'missing'],
    defaultNetwork: { namespaceSelector: {} },
    ports: [{ port: 80 }],
  }),
};
const topology = topologyOf(viewOf(exampleState({ routers: new Map([['a/r', router]]) })));

test('networks, routers and links, each once', () => {
  expect(topology.networks.map((n) => [n.name, n.pods, n.nodes.join()])).toEqual([
    ['default-network', 2, 'n1,n2'],
    ['a/default', 2, 'n1,n2'],
    ['b/default', 2, 'n1,n2'],
  ]);
  expect(topology.routers[0]).toMatchObject({ name: 'a/r', type: 'Mesh', open: 1 });
  expect(topology.routers[0]?.waiting.join()).toContain('VirtualNetwork a/missing does not exist');
});

test('drawings have every network and link, with identifiers that programs take', () => {
  const spec = virtualNetworkRouterSpec.parse({
    virtualNetworks: ['default'],
    defaultNetwork: {},
    ports: [{ port: 80 }],
  });
  const open = topologyOf(viewOf(exampleState({ routers: new Map([['a/r', { ...router, spec }]]) })));
  expect(open.links).toEqual([{ networks: ['a/default', 'default-network'], what: 'TCP 80; pods of a', by: ['a/r'] }]);
  expect(toMermaid(open)).toMatch(
    /^graph LR\n[\s\S]*n_a_47_default <-->\|"TCP 80; pods of a \(a\/r\)"\| n_default_45_network$/,
  );
  expect(toDot(open)).toMatch(
    /^graph networks \{[\s\S]* n_a_47_default -- n_default_45_network \[label="TCP 80[\s\S]*\}$/,
  );
});
