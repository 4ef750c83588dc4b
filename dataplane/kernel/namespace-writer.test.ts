import fc from 'fast-check';
import { connectionShares, planInstanceShares } from '../plan/shares.ts';
import { describe, expect, test } from 'vitest';
import { NetlinkError } from '../../lib/netlink/error.ts';
import { FakeKernel } from '../../lib/netlink/fake.ts';
import { FakeNft } from '../../lib/nft/fake.ts';
import { NftError } from '../../lib/nft/nft.ts';
import type { NetworkItem, NodeItem } from '../../api/nodeconfig.ts';
import { planGateSets, planInstance, planLocalBlock } from '../plan/instance.ts';
import { GATEWAY_MAC, TABLE } from '../plan/names.ts';
import { NO_POLICY } from '../desired/policy-table.ts';
import { planPod } from '../plan/pod.ts';
import { planRemoteBlock } from '../plan/remote.ts';
import { planService } from '../plan/services.ts';
import type { Fragment } from '../plan/fragment.ts';
import { NamespaceWriter } from './namespace-writer.ts';

const self: NodeItem = {
  name: 'n1',
  underlay: '192.0.2.11',
  addresses: ['192.0.2.11'],
  podCIDRs: ['10.244.1.0/24', 'fd00:10:244:1::/64'],
};
const remote: NodeItem = {
  name: 'n2',
  underlay: '192.0.2.12',
  addresses: ['192.0.2.12'],
  podCIDRs: ['10.244.2.0/24', 'fd00:10:244:2::/64'],
};
const network: NetworkItem = { key: 'shop/default', vni: 5, egress: 'None', allow: [] };
const backend = (n: number) => ({ ip: `10.244.1.${16 + n}`, port: 80, node: 'n1' });
const service = (n: number, backends: number, affinitySeconds?: number): Fragment =>
  planService(
    {
      namespace: 'shop',
      name: `s${n}`,
      network: network.key,
      clusterIPs: [`10.96.1.${n}`],
      internalTrafficPolicy: 'Cluster',
      exposed: n % 2 === 0,
      ...(affinitySeconds === undefined ? {} : { affinitySeconds }),
      ports: [
        { name: '', protocol: 'TCP', port: 80, backends: Array.from({ length: backends }, (_, i) => backend(i)) },
      ],
    },
    { place: { node: 'n1', zone: '' }, reach: 'own' },
  );

/** A world in which an instance lives; a new NamespaceWriter on it is a restarted agent. */
class World {
  readonly kernel = new FakeKernel();
  readonly nft = new FakeNft();
  instance: NamespaceWriter;
  constructor() {
    for (const ns of ['/root', '/ri', '/pod']) this.kernel.addNamespace(ns);
    this.instance = this.start();
  }
  start(): NamespaceWriter {
    this.instance = new NamespaceWriter(
      'shop/default',
      TABLE,
      { netlink: this.kernel.open('/ri'), root: this.kernel.open('/root'), nft: this.nft, netns: '/ri' },
      () => true,
    );
    return this.instance;
  }
  /** What ADD does before the fragment of a pod is set. */
  wire(hostIf: string, inPod: string): void {
    if (
      this.kernel
        .open('/ri')
        .links()
        .some((l) => l.name === hostIf)
    )
      return;
    const [error] = this.kernel.open('/ri').apply([
      {
        verb: 'create',
        kind: 'veth',
        value: { name: hostIf, mac: GATEWAY_MAC, mtu: 1450 },
        peer: { name: inPod, mac: '02:00:00:00:00:09', mtu: 1450, netns: '/pod' },
      },
    ]);
    if (!error) this.instance.linkMade({ name: hostIf, mac: GATEWAY_MAC, mtu: 1450 });
  }
  dump(): string {
    return `${this.kernel.dump('/ri')}\n${this.nft.dump(TABLE)}`;
  }
}

const pods = [0, 1, 2].map((n) => ({
  hostIf: `bhp00000000000${n}`,
  mac: '02:00:00:00:00:09',
  ips: [`10.244.1.${20 + n}`, `fd00:10:244:1::1${n}`],
  mtu: 1450,
}));

/** Every fragment that may come and go, by owner. */
const FRAGMENTS: Readonly<Record<string, readonly Fragment[]>> = {
  base: [
    withShares(planInstance(network, self, 1450)),
    withShares(planInstance({ ...network, egress: 'NAT' }, self, 1450)),
    withShares(planInstance(network, { ...self, underlay: '192.0.2.33' }, 1450)),
  ],
  gate: [planGateSets(self, [self, remote], ['10.244.0.0/16'], ['10.244.0.0/16'])],
  local: [planLocalBlock('10.244.1.16/28', network, self).instance],
  remote: [
    planRemoteBlock({ cidr: '10.244.2.16/28', node: 'n2', network: network.key }, remote),
    planRemoteBlock({ cidr: '10.244.2.32/28', node: 'n2', network: network.key }, remote),
  ],
  s1: [service(1, 2), service(1, 1), service(1, 3, 60), service(1, 0)],
  s2: [service(2, 1), service(2, 2)],
  pod0: [planPod(pods[0]!, NO_POLICY)],
  pod1: [planPod(pods[1]!, NO_POLICY)],
  pod2: [planPod(pods[2]!, NO_POLICY)],
};
/** With what the base refers to, and without switches: those are files of the real kernel. */
function withShares({ sysctls: _s, ...rest }: Fragment): Fragment {
  return { ...rest, nft: [...(rest.nft ?? []), ...(planInstanceShares(connectionShares(262_144)).nft ?? [])] };
}

type Wish = ReadonlyMap<string, Fragment>;
const ALWAYS = ['base', 'gate'];

function setAll(world: World, wish: Wish): void {
  for (const [i, pod] of pods.entries()) if (wish.has(`pod${i}`)) world.wire(pod.hostIf, `e${i}`);
  for (const owner of Object.keys(FRAGMENTS)) world.instance.setFragment(owner, wish.get(owner));
}

const anyWish: fc.Arbitrary<Wish> = fc
  .tuple(
    ...Object.entries(FRAGMENTS).map(([owner, versions]) =>
      fc
        .oneof(fc.constant(undefined), fc.constantFrom(...versions))
        .map((f) => [owner, f ?? (ALWAYS.includes(owner) ? versions[0] : undefined)] as const),
    ),
  )
  .map((entries) => new Map(entries.filter((e): e is readonly [string, Fragment] => e[1] !== undefined)));

/** What a fresh instance makes of a wish: the yardstick. */
function ideal(wish: Wish): string {
  const world = new World();
  setAll(world, wish);
  world.instance.apply();
  return world.dump();
}

describe('NamespaceWriter', () => {
  test('any sequence of wishes, restarts and damage ends where a fresh start would', () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: anyWish.map((wish) => ({ do: 'wish' as const, wish })) },
      { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
      { weight: 1, arbitrary: fc.constant({ do: 'flush' as const }) },
      { weight: 1, arbitrary: fc.constant({ do: 'strip' as const }) },
    );
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), anyWish, (steps, last) => {
        const world = new World();
        for (const s of [...steps, { do: 'wish' as const, wish: last }]) {
          if (s.do === 'restart') world.start().resync();
          if (s.do === 'flush') {
            world.nft.flush();
            world.instance.resync();
          }
          if (s.do === 'strip') {
            const ri = world.kernel.open('/ri');
            ri.apply(ri.routes().map((value) => ({ verb: 'delete', kind: 'route', value })));
            world.instance.resync();
          }
          if (s.do !== 'wish') continue;
          setAll(world, s.wish);
          world.instance.apply('additions');
          world.instance.apply();
        }
        world.instance.resync();
        world.instance.apply();
        expect(world.dump()).toBe(ideal(last));
        expect(world.instance.drifted).toBe(false);
      }),
      { numRuns: 150 },
    );
  });

  test.each(['once', 'three times'])('when the kernel refuses each change %s, it still gets there', (times) => {
    const wish: Wish = new Map(Object.entries(FRAGMENTS).map(([owner, [f]]) => [owner, f!]));
    const wanted = ideal(wish);
    const total = wanted.split('\n').length;
    for (let at = 0; at < total; at += 3) {
      const world = new World();
      let n = 0;
      let left = times === 'once' ? 1 : 3;
      world.kernel.faults = (op) => (n++ >= at && left-- > 0 ? new NetlinkError('ENOBUFS', op.kind) : undefined);
      let nftLeft = at % 2;
      world.nft.faults = (script) => (nftLeft-- > 0 ? new NftError('Error: out of buffers', script) : undefined);
      for (let attempt = 0; attempt < 8; attempt++) {
        try {
          setAll(world, wish);
          world.instance.apply();
        } catch {
          world.instance.resync();
        }
      }
      world.instance.apply();
      expect(world.dump()).toBe(wanted);
    }
  });

  test('what packets have taught a table outlives a restart, for what is still wanted', () => {
    const world = new World();
    const all = (instance: NamespaceWriter, backends: number): void => {
      instance.resync();
      instance.setFragment('base', withShares(planInstance(network, self, 1450)));
      instance.setFragment('s1', service(1, backends, 60));
      instance.setNft('rules', [{ kind: 'counter', name: 'rule_0' }]);
      instance.apply();
    };
    all(world.instance, 2);
    const sets = () => [...world.nft.dump(TABLE).matchAll(/set (aff\S+)/g)].map(([, name = '']) => name);
    const [first = '', second = ''] = sets();
    world.nft.run(`add element ${TABLE} ${first} { 10.244.1.20 expires 30000ms }`);
    world.nft.run(`add element ${TABLE} ${second} { 10.244.1.21 expires 30000ms }`);
    const learnt = (): string[] =>
      world.nft
        .dump(TABLE)
        .split('\n')
        .filter((l) => l.startsWith('element aff'));
    const before = learnt();
    expect(before).toHaveLength(2);
    all(world.start(), 2);
    expect(learnt()).toEqual(before);
    // In the middle of its life, after another program has meddled: the same.
    world.nft.faults = (script) =>
      script.startsWith('add table') ? undefined : new NftError('Error: meddled', script);
    world.instance.setNft('more', [{ kind: 'counter', name: 'more' }]);
    world.instance.apply();
    world.nft.faults = () => undefined;
    expect(learnt()).toEqual(before);
    // A backend that is gone takes the memory of it along.
    all(world.start(), 1);
    expect(learnt()).toEqual(before.filter((l) => l.includes(first)));
    // Rules without memory are better than none.
    world.nft.faults = (script) =>
      script.includes(' expires ') ? new NftError('Error: out of range', script) : undefined;
    all(world.start(), 1);
    expect(learnt()).toEqual([]);
  });

  test('fails closed: no link is made, and none comes up, before the table stands', () => {
    const world = new World();
    world.nft.faults = (script) => new NftError('Error: Operation not permitted', script);
    const wish: Wish = new Map(Object.entries(FRAGMENTS).map(([owner, [f]]) => [owner, f!]));
    setAll(world, wish);
    expect(() => world.instance.apply()).toThrow(/not permitted/);
    expect(
      world.kernel
        .open('/ri')
        .links()
        .filter((l) => l.up),
    ).toEqual([]);
    world.nft.faults = () => undefined;
    world.instance.apply();
    expect(
      world.kernel
        .open('/ri')
        .links()
        .filter((l) => !l.up)
        .map((l) => l.name),
    ).toEqual(['lo']);
  });
});
