import { describe, expect, test } from 'vitest';
import { bulkheadConfig, shop, useLab, virtualNetwork } from '../system/lab.ts';

// What is beyond a ceiling is refused where it is written, with the field and the remedy; what is within is stored.

const lab = useLab('atk-admission', { nodes: 1 });
const refusal = (yaml: string): Promise<string> =>
  lab.apply(yaml, { wait: false }).then(
    () => 'stored',
    (error: Error) => error.message,
  );
const network = (spec: object): string => virtualNetwork('t', 'asks', spec);
const service = (name: string, externalIPs: readonly string[]): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 't' },
    spec: { ports: [{ port: 80 }], externalIPs },
  });

describe('at admission', () => {
  test('networks', async () => {
    await lab.apply(shop('t').split('\n---\n')[0] ?? '', { wait: false });
    for (const [spec, why] of [
      [{ subnets: ['203.0.113.0/24'] }, /spec\.subnets\[0\]: 203\.0\.113\.0\/24 lies in none of the pools/],
      [{ subnets: ['10.0.0.0/8'] }, /larger than the \/16/],
      [{ subnets: ['10.244.0.0/24'] }, /overlaps/],
      [
        { egress: { mode: 'NAT', addresses: ['192.0.2.1'] } },
        /spec\.egress\.addresses\[0\]: 192\.0\.2\.1 lies in none/,
      ],
    ] as const)
      expect(await refusal(network(spec))).toMatch(why);
    expect(await refusal(network({ subnets: ['10.77.0.0/24', 'fd00:77::/64'], egress: { mode: 'NAT' } }))).toBe(
      'stored',
    );
    await lab.apply(bulkheadConfig({ egress: { limits: [{ modes: ['None'] }] } }), { wait: false });
    await lab.eventually(
      () => refusal(network({ subnets: ['10.77.0.0/24'], egress: { mode: 'Routed' } })),
      (m) => m !== 'stored',
    );
    expect(await refusal(network({ egress: { mode: 'Routed' } }))).toMatch(
      /spec\.egress\.mode: Routed is not among None/,
    );
    expect(await refusal(network({ egress: { mode: 'None' } }))).toBe('stored');
    await lab.kubectl('delete', 'bulkheadconfig', 'default');
  });

  test('external addresses: without a list none, then those of the list, and never one of another Service', async () => {
    expect(await refusal(service('none', []))).toBe('stored');
    expect(await refusal(service('one', ['203.0.113.10']))).toMatch(/spec\.externalIPs/);
    await lab.apply(bulkheadConfig({ services: { externalIPs: ['198.51.100.0/24', '10.96.0.0/16'] } }), {
      wait: false,
    });
    const listed = await lab.eventually(
      () => refusal(service('two', ['198.51.100.7'])),
      (m) => m === 'stored',
    );
    expect(listed).toBe('stored');
    expect(await refusal(service('three', ['203.0.113.10']))).toMatch(/spec\.externalIPs/);
    expect(await refusal(service('four', ['10.96.0.10']))).toMatch(/spec\.externalIPs/);
  });
});
