import { describe, expect, test } from 'vitest';
import type { NodeItem } from '../../api/nodeconfig.ts';
import { onLinkPrefixes } from './on-link.ts';
import { sourceOwners } from './source-owners.ts';

const node: NodeItem = {
  name: 'n1',
  underlay: '192.0.2.11',
  addresses: ['192.0.2.11'],
  podCIDRs: ['10.244.1.0/24', 'fd00:10:244:1::/64'],
};

describe('whose connections are those of a source', () => {
  const owner = sourceOwners(
    [
      { cidr: '10.244.1.16/28', network: 'a/default' },
      { cidr: '172.20.0.0/24', network: 'b/default' },
      { cidr: '10.244.2.32/28', network: 'a/default' },
      { cidr: '10.244.1.32/28', network: '' },
      { cidr: 'fd00:10:244:1::100/120', network: 'a/default' },
    ].map((b) => ({ ...b, network: b.network || 'default-network' })),
    ['10.244.0.0/16', 'fd00:10:244::/48'],
    [node],
  );
  test.each([
    ['10.244.1.17', 'a/default'],
    ['10.244.2.47', 'a/default'],
    ['10.244.2.48', '10.244.2.48'],
    ['172.20.0.9', 'b/default'],
    ['172.20.1.9', undefined],
    ['fd00:10:244:1::1ff', 'a/default'],
    ['fd00:10:244:1::200', 'fd00:10:244:1::200'],
    ['10.244.1.33', '10.244.1.33'],
    ['10.244.1.0', undefined],
    ['10.244.1.1', undefined],
    ['192.0.2.11', undefined],
    ['203.0.113.10', undefined],
  ])('%s: %s', (source, expected) => expect(owner(source)).toBe(expected));
});

test('on-link prefixes: disjoint, without routers, single hosts and devices of ours', () => {
  expect(
    onLinkPrefixes([
      { dst: '192.0.2.0/24', dev: 'eth0', direct: true },
      { dst: '192.0.2.0/28', dev: 'eth1', direct: true },
      { dst: '198.51.100.0/24', dev: 'eth0', direct: false },
      { dst: '192.0.2.1/32', dev: 'eth0', direct: true },
      { dst: '10.244.2.0/24', dev: 'bh0', direct: true },
      { dst: '2001:db8:2::/64', dev: 'eth0', direct: true },
    ]),
  ).toEqual(['192.0.2.0/24', '2001:db8:2::/64']);
});
