import { expect, test } from 'vitest';
import { exampleState } from '../cluster/example.ts';
import { decide } from '../decide/decide.ts';
import { viewOf } from '../view/view.ts';
import { withLinks } from './links.ts';

const state = exampleState();
const node = (name: string, links: Record<string, string[]>) =>
  withLinks(
    state.nodes.get(name)!,
    Object.entries(links).flatMap(([dev, ips]) => ips.map((ip) => ({ dev, ip }))),
    state,
  );

test('addresses that only agents know are the node; what Bulkhead and kube-proxy put there is not', () => {
  const { further, local } = node('n1', {
    lo: ['127.0.0.1', '::1'],
    eth0: ['192.0.2.11', '192.0.2.111', 'fe80::1'],
    docker0: ['172.17.0.1'],
    bh0: ['10.244.1.0'],
    bhu5: ['10.244.1.0'],
    'kube-ipvs0': ['10.96.0.10'],
    nodelocaldns: ['169.254.20.10', '10.96.0.10'],
  });
  expect(further).toEqual(['172.17.0.1', '192.0.2.111']);
  expect(local).toEqual(['10.96.0.10', '169.254.20.10']);
});

test('a bridge that every node has is the own node of the sender, and so is a DNS cache', () => {
  const links = { docker0: ['172.17.0.1'], nodelocaldns: ['169.254.20.10'] };
  const view = viewOf({
    ...state,
    nodes: new Map(['n1', 'n2'].map((n) => [n, node(n, links)])),
  });
  for (const address of ['172.17.0.1', '169.254.20.10'])
    for (const [pod, own] of [
      ['flat/p1', 'n1'],
      ['flat/p2', 'n2'],
    ] as const)
      expect(decide(view, state.pods.get(pod)!, { address, port: 53, protocol: 'UDP' })).toMatchObject({
        verdict: 'open',
        destination: { kind: 'Node', node: own },
      });
  // A pod of an isolated network reaches no node, by whatever address.
  for (const address of ['172.17.0.1', '169.254.20.10'])
    expect(decide(view, state.pods.get('a/p1')!, { address, port: 53, protocol: 'UDP' }).verdict).toBe('rejected');
});
