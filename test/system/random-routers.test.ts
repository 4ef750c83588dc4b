import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { pod, shop, useLab, virtualNetwork } from './lab.ts';

// Any routers, consents and openings over a fixed set of pods: what core says is what packets do. Shrinks to the smallest that differs.

const lab = useLab('random', { nodes: 2 });
const RUNS = Number(process.env['RANDOM_RUNS'] ?? 12);

const NAMESPACES = { a: ['default'], b: ['default', 'sub'], c: ['default'], flat: [] as string[] } as const;
type Namespace = keyof typeof NAMESPACES;
const names = Object.keys(NAMESPACES) as Namespace[];
const KEYS = names.flatMap((ns) => ['r0', 'r1'].map((name) => ({ namespace: ns, name })));

const router = fc.record({
  at: fc.constantFrom(...KEYS),
  type: fc.constantFrom('Mesh', 'Mesh', 'Hub', 'Spoke'),
  members: fc.subarray(['default', 'sub', 'missing'], { minLength: 0 }),
  flat: fc.boolean(),
  imports: fc.oneof(fc.subarray(KEYS), fc.constant('all' as const)),
  traffic: fc.constantFrom('All', 'All', 'ServicesOnly'),
  ports: fc.option(
    fc.subarray([{ port: 8080 }, { port: 5353, protocol: 'UDP' }, { port: 1, endPort: 8000 }], { minLength: 1 }),
    {
      nil: undefined,
      freq: 3,
    },
  ),
});

type Router = typeof router extends fc.Arbitrary<infer T> ? T : never;

function manifest({ at, type, members, flat, imports, traffic, ports }: Router): string | undefined {
  const own = members.filter((m) => m === 'missing' || (NAMESPACES[at.namespace] as readonly string[]).includes(m));
  const spec = {
    type,
    traffic,
    ...(own.length > 0 ? { virtualNetworks: own } : {}),
    ...(flat || at.namespace === 'flat' ? { defaultNetwork: {} } : {}),
    ...(ports ? { ports } : {}),
    import:
      imports === 'all' ? [{ namespaceSelector: {} }] : imports.filter((i) => JSON.stringify(i) !== JSON.stringify(at)),
  };
  if (own.length === 0 && !spec.defaultNetwork) return undefined;
  return JSON.stringify({ apiVersion: 'bulkhead.dev/v1alpha1', kind: 'VirtualNetworkRouter', metadata: at, spec });
}

describe('random routers', () => {
  test('predicted reach is measured reach, all pairs, both families', async () => {
    await lab.apply(
      [
        shop('a'),
        shop('b'),
        shop('c'),
        shop('flat', { isolated: false }),
        virtualNetwork('b', 'sub', { subnets: ['10.60.0.0/24', 'fd00:60::/64'] }),
        pod('b', 's1', { node: 'n1', labels: { app: 'sub' }, annotations: { 'bulkhead.dev/network': 'sub' } }),
        pod('b', 's2', { node: 'n2', labels: { app: 'sub' }, annotations: { 'k8s.v1.cni.cncf.io/networks': 'sub' } }),
        pod('c', 'opens', {
          node: 'n2',
          labels: {},
          annotations: { 'bulkhead.dev/open-ports': '8080/TCP', 'bulkhead.dev/open-to': '*' },
        }),
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'Service',
          metadata: { name: 'sub', namespace: 'b', annotations: { 'bulkhead.dev/network': 'sub' } },
          spec: {
            ipFamilyPolicy: 'PreferDualStack',
            selector: { app: 'sub' },
            ports: [{ port: 80, targetPort: 8080 }],
          },
        }),
      ].join('\n---\n'),
    );
    expect(
      await lab.eventually(
        () => lab.differences(),
        (d) => d.length === 0,
      ),
    ).toEqual([]);
    let opened = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(router, { minLength: 1, maxLength: 6, selector: (r) => `${r.at.namespace}/${r.at.name}` }),
        async (routers) => {
          const wanted = routers.flatMap((r) => manifest(r) ?? []);
          await lab.kubectl('delete', 'vnr', '--all', '-A', '--ignore-not-found');
          if (wanted.length > 0) await lab.apply(wanted.join('\n---\n'), { wait: false });
          expect(
            await lab.eventually(
              () => lab.differences(),
              (d) => d.length === 0,
              8_000,
            ),
          ).toEqual([]);
          if ((await lab.view()).connections.size > 0) opened++;
        },
      ),
      { numRuns: RUNS, endOnFailure: false },
    );
    expect(opened).toBeGreaterThan(0);
  }, 600_000);
});
