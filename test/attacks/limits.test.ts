import { describe, expect, test } from 'vitest';
import { bulkheadConfig, pod, shop, useLab } from '../system/lab.ts';

// A tenant who may edit networks opens to himself whatever a network can have (V14): as far as the administrator lets him.

const lab = useLab('atk-limits', { nodes: 2 });
const OUTSIDE = { 4: '203.0.113.10', 6: '2001:db8::10' } as const;
const families = [4, 6] as const;
const BASIC = [
  { namespace: 'kube-system', name: 'kube-dns' },
  { namespace: 'default', name: 'kubernetes' },
];
const patch = (ns: string, spec: object): Promise<string> =>
  lab.kubectl('patch', 'vn', 'default', '-n', ns, '--type=merge', '-p', JSON.stringify({ spec }));
const told = (ns: string, what: RegExp): Promise<string> =>
  lab.eventually(
    () => lab.kubectl('get', 'vn', '-n', ns, 'default', '-o', "jsonpath={.status.conditions[?(@.type=='Ready')]}"),
    (c) => what.test(c),
  );
const becomes = (from: string, address: string, port: number, wanted: RegExp): Promise<string> =>
  lab.eventually(
    () => lab.connect(from, address, port),
    (o) => wanted.test(o),
  );
const clusterIp = async (ns: string, name: string): Promise<string> =>
  (await lab.kubectl('get', 'svc', '-n', ns, name, '-o', 'jsonpath={.spec.clusterIP}')).trim();

describe('limits', () => {
  test('what was asked for before there was a limit is taken back, also from connections that stand; what is left goes on', async () => {
    await lab.apply(
      [
        shop('tenant'),
        shop('trusted', { labels: { tier: 'platform' } }),
        shop('flat', { isolated: false }),
        shop('shared', { isolated: false }),
      ].join('\n---\n'),
    );
    for (const ns of ['tenant', 'trusted'])
      await patch(ns, { egress: { mode: 'NAT' }, services: { access: 'DefaultNetwork' } });
    const flat = await clusterIp('flat', 'web');
    const shared = await clusterIp('shared', 'web');
    for (const ns of ['tenant', 'trusted'])
      for (const name of ['p1', 'p2']) {
        expect(await becomes(`${ns}/${name}`, flat, 80, /^open:flat/)).toMatch(/^open:flat/);
        for (const family of families)
          expect(await becomes(`${ns}/${name}`, OUTSIDE[family], 80, /^open/)).toBe('open:/outside');
      }
    const tenants = { matchExpressions: [{ key: 'tier', operator: 'NotIn', values: ['platform'] }] };
    await lab.apply(
      bulkheadConfig({
        egress: { limits: [{ modes: ['None'], namespaceSelector: tenants }] },
        services: { limits: [{ allow: [...BASIC, { namespace: 'shared' }], namespaceSelector: tenants }] },
      }),
    );
    expect(await told('tenant', /LimitExceeded/)).toMatch(
      /spec\.egress\.mode: NAT .*spec\.services\.access: DefaultNetwork/,
    );
    for (const name of ['p1', 'p2']) {
      const from = `tenant/${name}`;
      expect(await becomes(from, flat, 80, /^rejected/)).toBe('rejected');
      for (const family of families) expect(await becomes(from, OUTSIDE[family], 80, /^rejected/)).toBe('rejected');
      expect(await becomes(from, shared, 80, /^open/)).toMatch(/^open:shared/);
      expect(await lab.connect(from, '10.96.0.10', 53)).toBe('open');
      expect(await lab.connect(from, await lab.ip('tenant/q1'), 8080)).toBe('open:tenant/q1');
    }
    for (const name of ['p1', 'p2']) {
      expect(await lab.connect(`trusted/${name}`, flat, 80)).toMatch(/^open:flat/);
      for (const family of families)
        expect(await lab.connect(`trusted/${name}`, OUTSIDE[family], 80)).toBe('open:/outside');
    }
    expect(await told('trusted', /Realized/)).toContain('Realized');
    expect(await lab.differences()).toEqual([]);
  });

  test('new pods start, and what the tenant asks for within the limits he gets', async () => {
    await lab.apply(pod('tenant', 'late', { node: 'n2' }));
    await patch('tenant', {
      egress: { mode: 'None' },
      services: { access: 'AllowList', allow: [...BASIC, { namespace: 'shared', name: 'web' }] },
    });
    expect(await told('tenant', /Realized/)).toContain('Realized');
    expect(await becomes('tenant/late', await clusterIp('shared', 'web'), 80, /^open/)).toMatch(/^open:shared/);
    await lab.kubectl('delete', 'bulkheadconfig', 'default');
    await patch('tenant', { egress: { mode: 'NAT' } });
    expect(await becomes('tenant/late', OUTSIDE[4], 80, /^open/)).toBe('open:/outside');
  });
});
