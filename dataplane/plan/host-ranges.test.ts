import { expect, test } from 'vitest';
import { closedNetwork, HostRanges } from './host-ranges.ts';

const host = new HostRanges(
  {
    addresses: ['192.0.2.11', '10.99.0.5', '2001:db8:2::11'],
    routes: ['192.0.2.0/24', '172.17.0.0/16', '0.0.0.0/1', 'fd00:7::/64'],
  },
  ['10.50.0.10'],
);

test.each([
  ['10.99.0.0/28', /10\.99\.0\.5, an address/],
  ['192.0.2.128/25', /192\.0\.2\.0\/24, to which/],
  ['172.16.0.0/12', /172\.17\.0\.0\/16/],
  ['10.50.0.0/24', /host of the API server/],
  ['fd00:7:0:0:1::/80', /fd00:7::\/64/],
])('%s is the node’s', (cidr, what) => {
  expect(host.overlapping(cidr)).toMatch(what);
});

test.each(['10.99.1.0/24', '10.20.0.0/16', 'fd00:8::/64', '2001:db8:3::/64'])(
  '%s is not, whatever a route in halves says',
  (cidr) => {
    expect(host.overlapping(cidr)).toBeUndefined();
    expect(host.without(cidr)).toEqual([cidr]);
  },
);

test('a range less what is the node’s', () => {
  expect(host.without('10.99.0.4/30')).toEqual(['10.99.0.4/32', '10.99.0.6/31']);
  expect(host.without('192.0.2.0/25')).toEqual([]);
});

test('a closed network has no way to anything', () => {
  const network = {
    key: 'a/x',
    vni: 5,
    egress: 'NAT',
    egressVia: { node: 'n1', addresses: [] },
    allow: ['a/b'],
  } as const;
  expect(closedNetwork(network)).toEqual({
    key: 'a/x',
    vni: 5,
    egress: 'None',
    allow: [],
    closed: true,
    apiServerAccess: 'None',
  });
});
