import { expect, test } from 'vitest';
import { exampleNetwork, exampleState } from '../cluster/example.ts';
import { readSettings } from '../read/objects.ts';
import type { ClusterState } from '../cluster/state.ts';
import { viewOf } from '../view/view.ts';
import { compile } from '../node-config/compile.ts';
import { trace } from '../decide/trace.ts';
import { chooseHolder } from './holder.ts';

const settings = readSettings({ spec: { egress: { addressPools: [{ prefixes: ['192.0.2.192/27'] }] } } })!;
const stateWith = (change: Partial<ClusterState>): ClusterState => exampleState({ settings, ...change });
const nodes = [...exampleState().nodes.values()];
const network = (egress: object, egressNode?: string) => ({
  ...exampleNetwork('a', 'default', 2, { egress: { mode: 'NAT', addresses: ['192.0.2.200'], ...egress } }),
  ...(egressNode === undefined ? {} : { egressNode }),
});
const both = new Set(['n1', 'n2']);

test('who has the addresses keeps them while it lives and is chosen; else another; else none', () => {
  expect(chooseHolder(network({}), nodes, both)).toMatch(/^n[12]$/);
  expect(chooseHolder(network({}, 'n2'), nodes, both)).toBe('n2');
  expect(chooseHolder(network({}, 'n2'), nodes, new Set(['n1']))).toBe('n1');
  expect(chooseHolder(network({}, 'n2'), nodes, new Set())).toBeUndefined();
  expect(
    chooseHolder(network({ nodeSelector: { matchLabels: { egress: 'yes' } } }, 'n2'), nodes, both),
  ).toBeUndefined();
  expect(chooseHolder(network({ mode: 'None' }, 'n2'), nodes, both)).toBeUndefined();
});

test('without a node that has them, and where they belong to another owner, nothing leaves', () => {
  const told = (...networks: ReturnType<typeof network>[]) =>
    compile(viewOf(stateWith({ networks: new Map(networks.map((n) => [`${n.namespace}/${n.name}`, n])) })), 'n1')
      .network;
  expect(told(network({}, 'n2')).get('a/default')).toMatchObject({
    egress: 'NAT',
    egressVia: { node: 'n2', addresses: ['192.0.2.200'] },
  });
  expect(told(network({})).get('a/default')).toMatchObject({ egress: 'None' });
  expect(told(network({}, 'gone')).get('a/default')).toMatchObject({ egress: 'None' });
  const thief = { ...network({}, 'n1'), namespace: 'b', created: 5, vni: 3 };
  expect(told(network({}, 'n2'), thief).get('b/default')).toMatchObject({ egress: 'None' });
});

test('a trace tells by which node and address a packet leaves', () => {
  const state = stateWith({ networks: new Map([['a/default', network({}, 'n2')]]) });
  const from = state.pods.get('a/p1');
  if (!from) throw new Error('no pod');
  const told = trace(viewOf(state), from, { address: '203.0.113.10', port: 80, protocol: 'TCP' });
  expect(told.verdict).toBe('open');
  expect(told.steps.map((s) => `${s.where}: ${s.what}`).join('\n')).toMatch(
    /n1, namespace bh-2, vx0: to node n2[\s\S]*node n2, root: leaves the cluster with the address 192\.0\.2\.200/,
  );
  const none = stateWith({ networks: new Map([['a/default', network({})]]) });
  expect(trace(viewOf(none), from, { address: '203.0.113.10', port: 80, protocol: 'TCP' })).toMatchObject({
    verdict: 'rejected',
    why: 'no node has the egress addresses of network a/default',
  });
});
