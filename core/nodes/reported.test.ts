import { describe, expect, test } from 'vitest';
import { emptyNodeConfig, type StreamEvent } from '../../api/nodeconfig.ts';
import { applyEvent, compile } from '../node-config/compile.ts';
import { exampleState } from '../cluster/example.ts';
import { readNode } from '../read/objects.ts';
import { viewOf } from '../view/view.ts';
import { withReport } from './reported.ts';

const state = { ...exampleState(), podCIDRs: ['10.244.0.0/16', 'fd00:10:244::/48'], serviceCIDRs: ['10.96.0.0/16'] };
const node = state.nodes.get('n1') ?? expect.fail('n1');
const reported = (addresses: string[], routes: string[] = []) => withReport(node, { addresses, routes }, state);

describe('what an agent reports of its node', () => {
  test('further addresses and routes are taken in canonical form, once, without what is known', () => {
    expect(reported(['192.0.2.11', '192.0.2.111', '192.0.2.111', '2001:DB8::1', '172.17.0.1'])).toMatchObject({
      addresses: ['192.0.2.11'],
      further: ['172.17.0.1', '192.0.2.111', '2001:db8::1'],
    });
    expect(reported([], ['192.0.2.0/24', '172.17.0.0/16', '2001:db8:2::/64']).routes).toEqual([
      '172.17.0.0/16',
      '192.0.2.0/24',
      '2001:db8:2::/64',
    ]);
  });

  test.each([
    ["another node's pod", '10.244.2.5'],
    ['an IPv6 pod', 'fd00:10:244:2::5'],
    ['a Service', '10.96.0.10'],
    ['loopback', '127.0.0.1'],
    ['unspecified', '0.0.0.0'],
    ['IPv6 unspecified', '::'],
    ['link-local', 'fe80::1'],
    ['metadata', '169.254.169.254'],
    ['multicast', '224.0.0.1'],
    ['no address', 'evil'],
    ['a prefix', '203.0.113.0/24'],
  ])('a stolen token claims nothing that is not a node: %s', (_, address) => {
    expect(reported([address]).further).toEqual([]);
  });

  test.each([
    '0.0.0.0/0',
    '0.0.0.0/1',
    '::/0',
    '2000::/3',
    '10.244.3.0/24',
    '10.96.0.0/20',
    '169.254.0.0/16',
    '10.0.0.1/8',
    'x',
  ])('no route that says where nothing is: %s', (route) => {
    expect(reported([], [route]).routes).toEqual([]);
  });

  test('a bounded number', () => {
    const many = Array.from({ length: 200 }, (_, i) => `203.0.113.${i}`);
    expect(reported(many).further).toHaveLength(64);
  });
});

test('ExternalIPs and names that are addresses are further addresses', () => {
  const raw = {
    metadata: { name: 'n' },
    status: {
      addresses: [
        { type: 'Hostname', address: '192.0.2.9' },
        { type: 'InternalIP', address: '192.0.2.11' },
        { type: 'ExternalIP', address: '203.0.113.7' },
        { type: 'InternalIP', address: '2001:DB8::11' },
        { type: 'Hostname', address: 'n1.example' },
      ],
    },
  };
  expect(readNode(raw)).toMatchObject({
    addresses: ['192.0.2.11', '2001:db8::11'],
    further: ['192.0.2.9', '203.0.113.7'],
    routes: [],
  });
});

test('a new controller that has not heard an agent yet opens nothing that was closed before', () => {
  const config = emptyNodeConfig();
  const item = (further: string[], unheard?: true): StreamEvent => ({
    type: 'upsert',
    kind: 'node',
    key: 'n1',
    value: {
      name: 'n1',
      underlay: '192.0.2.11',
      addresses: [],
      podCIDRs: [],
      further,
      ...(unheard ? { unheard } : {}),
    },
  });
  const further = () => config.node.get('n1')?.further;
  applyEvent(config, item(['192.0.2.111', '192.0.2.121']));
  const afresh = compile(viewOf({ ...state, nodes: new Map([['n1', withReport(node, undefined, state)]]) }), 'n1');
  expect(afresh.node.get('n1')?.unheard).toBe(true);
  applyEvent(config, item(['192.0.2.121'], true));
  expect(further()).toEqual(['192.0.2.111', '192.0.2.121']);
  applyEvent(config, item(['192.0.2.121']));
  expect(further()).toEqual(['192.0.2.121']);
});
