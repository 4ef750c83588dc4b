import { describe, expect, test } from 'vitest';
import { assignPod } from './assign.ts';
import { exampleNamespace, exampleNetwork, examplePod, exampleState } from '../cluster/example.ts';
import type { ClusterState, Namespace, Network } from '../cluster/state.ts';

type Row = { name: string; namespace?: Namespace; pod?: Record<string, string>; networks?: Network[]; wants: string };

const ns = (labels: Record<string, string> = {}, annotations: Record<string, string> = {}): Namespace =>
  exampleNamespace('shop', labels, annotations);
const isolated = { 'bulkhead.dev/isolated': 'true' };
const own = exampleNetwork('shop', 'default', 9);
const blue = exampleNetwork('shop', 'blue', 10);
const theirs = exampleNetwork('other', 'red', 11);
const shared = exampleNetwork('other', 'red', 11, { sharedWith: { matchLabels: { team: 'x' } } });
const open = exampleNetwork('other', 'red', 11, { sharedWith: {} });

const ROWS: Row[] = [
  { name: 'nothing said: flat', wants: 'default-network' },
  { name: 'the label', namespace: ns(isolated), networks: [own], wants: 'shop/default' },
  {
    name: "CN2's label",
    namespace: ns({ 'core.juniper.net/isolated-namespace': 'true' }),
    networks: [own],
    wants: 'shop/default',
  },
  { name: 'the label says false', namespace: ns({ 'bulkhead.dev/isolated': 'false' }), wants: 'default-network' },
  {
    name: 'the label says something else: wait, never flat',
    namespace: ns({ 'bulkhead.dev/isolated': 'yes' }),
    wants: 'InvalidAnnotation',
  },
  {
    name: 'two labels contradict',
    namespace: ns({ ...isolated, 'core.juniper.net/isolated-namespace': 'false' }),
    wants: 'ConflictingNetworks',
  },
  { name: 'isolated, network not made yet', namespace: ns(isolated), wants: 'NetworkNotFound' },
  {
    name: 'isolated, no VNI yet',
    namespace: ns(isolated),
    networks: [exampleNetwork('shop', 'default', undefined)],
    wants: 'NetworkNotReady',
  },
  {
    name: "the namespace's annotation",
    namespace: ns({}, { 'bulkhead.dev/network': 'blue' }),
    networks: [blue],
    wants: 'shop/blue',
  },
  {
    name: "the pod's annotation wins",
    namespace: ns(isolated),
    pod: { 'bulkhead.dev/network': 'blue' },
    networks: [own, blue],
    wants: 'shop/blue',
  },
  {
    name: "CN2's annotation",
    pod: { 'net.juniper.contrail.podnetwork': 'shop/blue' },
    networks: [blue],
    wants: 'shop/blue',
  },
  {
    name: 'two annotations name two networks',
    pod: { 'bulkhead.dev/network': 'blue', 'net.juniper.contrail.podnetwork': 'green' },
    networks: [blue],
    wants: 'ConflictingNetworks',
  },
  {
    name: 'the same named twice is one',
    pod: { 'bulkhead.dev/network': 'blue', 'net.juniper.contrail.podnetwork': 'blue' },
    networks: [blue],
    wants: 'shop/blue',
  },
  {
    name: 'a list is no name',
    pod: { 'bulkhead.dev/network': 'blue,green' },
    networks: [blue],
    wants: 'InvalidAnnotation',
  },
  { name: 'empty', pod: { 'bulkhead.dev/network': '' }, wants: 'InvalidAnnotation' },
  { name: 'too many slashes', pod: { 'bulkhead.dev/network': 'a/b/c' }, wants: 'InvalidAnnotation' },
  { name: 'too long', pod: { 'bulkhead.dev/network': 'x'.repeat(64) }, wants: 'InvalidAnnotation' },
  { name: 'missing', pod: { 'bulkhead.dev/network': 'nope' }, wants: 'NetworkNotFound' },
  {
    name: "another namespace's, not shared",
    pod: { 'bulkhead.dev/network': 'other/red' },
    networks: [theirs],
    wants: 'NetworkNotShared',
  },
  {
    name: "another namespace's, shared with others",
    pod: { 'bulkhead.dev/network': 'other/red' },
    networks: [shared],
    wants: 'NetworkNotShared',
  },
  {
    name: "another namespace's, shared with us",
    namespace: ns({ team: 'x' }),
    pod: { 'bulkhead.dev/network': 'other/red' },
    networks: [shared],
    wants: 'other/red',
  },
  {
    name: "another namespace's, shared with all",
    pod: { 'bulkhead.dev/network': 'other/red' },
    networks: [open],
    wants: 'other/red',
  },
  {
    name: 'being deleted',
    pod: { 'bulkhead.dev/network': 'blue' },
    networks: [{ ...blue, deleting: true }],
    wants: 'NetworkNotFound',
  },
  {
    name: 'invalid',
    pod: { 'bulkhead.dev/network': 'blue' },
    networks: [{ ...blue, spec: undefined, problems: ['spec.mtu: too small'] }],
    wants: 'NetworkNotReady',
  },
  {
    name: 'private addresses: not in this version',
    pod: { 'bulkhead.dev/network': 'blue' },
    networks: [exampleNetwork('shop', 'blue', 10, { addressing: 'Private' })],
    wants: 'UnsupportedNetwork',
  },
  {
    name: 'out of isolation by itself',
    namespace: ns(isolated),
    pod: { 'bulkhead.dev/network': 'default-network' },
    networks: [own],
    wants: 'NetworkNotShared',
  },
  { name: 'the flat network by name', pod: { 'bulkhead.dev/network': 'default-network' }, wants: 'default-network' },
];

describe('assignPod', () => {
  test.each(ROWS)('$name → $wants', ({ namespace = ns(), pod = {}, networks = [], wants }) => {
    const state: ClusterState = exampleState({
      namespaces: new Map([['shop', namespace]]),
      networks: new Map(networks.map((n) => [`${n.namespace}/${n.name}`, n])),
    });
    const given = assignPod(state, examplePod('shop', 'p', 1, 5, pod));
    expect('network' in given ? given.network : given.problem.code).toBe(wants);
    // Every refusal says what it is about and what to do.
    if ('problem' in given) expect(given.problem.message).toMatch(/shop|other/);
  });

  test('what a pod is attached to counts more than what is written now', () => {
    const state = exampleState({
      attached: new Map([['a-p1', 'a/default']]),
      namespaces: new Map([['a', exampleNamespace('a')]]),
    });
    expect(assignPod(state, examplePod('a', 'p1', 1, 5))).toEqual({ network: 'a/default' });
  });
});
