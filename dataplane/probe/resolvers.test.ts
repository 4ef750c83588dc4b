import { expect, test } from 'vitest';
import { nameservers, resolvers } from './resolvers.ts';

test('name servers that are somewhere else', () => {
  const text = [
    '# nameserver 10.0.0.1',
    'search example.com',
    'nameserver 10.5.0.53',
    ' \tnameserver\tFD00:5:0::0053  # of the data centre',
    'nameserver 127.0.0.53',
    'nameserver 169.254.169.253',
    'nameserver fe80::1%eth0',
    'nameserver nowhere',
    'nameserver 10.5.0.53',
    'options ndots:5',
  ].join('\n');
  expect(nameservers(text)).toEqual(['10.5.0.53', 'fd00:5::53']);
  expect(resolvers('/nonexistent/resolv.conf')).toEqual([]);
});
