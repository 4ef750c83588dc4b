import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { randomPolicies } from '../policy/random.ts';
import { worldManifests } from '../policy/world.ts';
import { useLab, virtualNetwork } from './lab.ts';

// Any policies: what core says of every pod, Service, node and outside host is what packets do. Shrinks to the smallest that differs.

const RUNS = Number(process.env['RANDOM_RUNS'] ?? 6);

describe.each([
  ['the flat network', 'rndflat', undefined],
  ['an isolated network', 'rndnet', 'shared/blue'],
] as const)('random policies on %s', (_title, name, network) => {
  const lab = useLab(name, { nodes: 2 });

  test('predicted reach is measured reach, all pairs, both families', async () => {
    const shared = [
      JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shared' } }),
      virtualNetwork('shared', 'blue', { egress: { mode: 'NAT' }, sharedWith: {} }),
    ];
    await lab.apply([...(network ? shared : []), ...worldManifests(network).map((o) => stringify(o))].join('\n---\n'));
    const settled = (ms?: number): Promise<string[]> =>
      lab.eventually(
        () => lab.differences(),
        (d) => d.length === 0,
        ms,
      );
    expect(await settled()).toEqual([]);
    await fc.assert(
      fc.asyncProperty(randomPolicies, async (policies) => {
        await lab.kubectl('delete', 'networkpolicy', '--all', '-A');
        await lab.kubectl('delete', 'clusternetworkpolicy', '--all');
        await lab.apply(policies.map((p) => stringify(p)).join('\n---\n'), { wait: false });
        expect(await settled(10_000)).toEqual([]);
      }),
      { numRuns: RUNS, endOnFailure: false },
    );
  }, 900_000);
});
