import { expect, test } from 'vitest';
import { hostAddresses } from './host-addresses.ts';

test('addresses and routes of the node are told from those that Bulkhead has made', () => {
  const at = (dev: string, ip: string, lent = false) => ({ dev, ip, lent });
  const netlink = {
    hostAddresses: () => [
      at('lo', '127.0.0.1'),
      at('lo', '::1'),
      at('lo', '10.244.1.1'),
      at('lo', '198.51.100.1'),
      at('eth0', '192.0.2.111'),
      at('eth0', '192.0.2.11'),
      at('eth0', 'fe80::5'),
      at('eth0', '192.0.2.200'),
      at('eth0', '192.0.2.201', true),
      at('docker0', '172.17.0.1'),
      at('bh0', '10.244.1.0'),
      at('bhu2', '10.244.1.0'),
      at('bhp0123', 'fe80::1'),
      at('kube-ipvs0', '203.0.113.80'),
    ],
    hostRoutes: () => [
      { dst: '0.0.0.0/0', dev: 'eth0', direct: true },
      { dst: '192.0.2.0/24', dev: 'eth0', direct: true },
      { dst: '172.17.0.0/16', dev: 'docker0', direct: true },
      { dst: '10.0.0.0/8', dev: '', direct: true },
      { dst: '10.244.1.5/32', dev: 'cali1', direct: true },
      { dst: 'fe80::/64', dev: 'eth0', direct: true },
      { dst: 'fd00:10:244:1::/128', dev: 'bhu2', direct: true },
    ],
  };
  expect(
    hostAddresses(netlink, {
      podCIDRs: ['10.244.1.0/24'],
      egress: ['192.0.2.200'],
      resolvers: ['10.244.1.9', '100.64.0.53'],
    }),
  ).toEqual({
    addresses: ['172.17.0.1', '192.0.2.11', '192.0.2.111', '198.51.100.1'],
    routes: ['10.0.0.0/8', '100.64.0.53/32', '172.17.0.0/16', '192.0.2.0/24'],
  });
});
