import { expect, test } from 'vitest';
import { hostCidr } from '../ip/prefix.ts';
import { applyAll, type Netlink, type NetlinkOp } from './netlink.ts';

/** A place to try things: a home namespace with another one beside it. */
export type NetlinkWorld = { readonly home: Netlink; readonly other: Netlink; readonly otherPath: string };

/** What the kernel does with our requests. The fake must do the same, to the code of every error. */
export function netlinkConformance(make: () => NetlinkWorld): void {
  const mac = (n: number): string => `02:00:00:00:00:${n.toString(16).padStart(2, '0')}`;
  const veth = (name: string, peer: string, netns?: string): NetlinkOp => ({
    verb: 'create',
    kind: 'veth',
    value: { name, mac: mac(1), mtu: 1450 },
    peer: { name: peer, mac: mac(2), mtu: 1450, ...(netns === undefined ? {} : { netns }) },
  });
  const up = (name: string): NetlinkOp => ({ verb: 'set', kind: 'link', name, change: { up: true } });
  const codes = (n: Netlink, ops: readonly NetlinkOp[]): (string | undefined)[] => n.apply(ops).map((e) => e?.code);

  test('a veth pair is born in two namespaces, and dies at both ends', () => {
    const { home, other, otherPath } = make();
    applyAll(home, [veth('a0', 'b0', otherPath)]);
    expect(home.links().find((l) => l.name === 'a0')).toMatchObject({
      kind: 'veth',
      mac: mac(1),
      mtu: 1450,
      up: false,
    });
    expect(other.links().find((l) => l.name === 'b0')).toMatchObject({ kind: 'veth', mac: mac(2), mtu: 1450 });
    expect(codes(home, [veth('a0', 'c0')])).toEqual(['EEXIST']);
    applyAll(home, [{ verb: 'delete', kind: 'link', name: 'a0' }]);
    expect(other.links().map((l) => l.name)).toEqual(['lo']);
    expect(codes(home, [{ verb: 'delete', kind: 'link', name: 'a0' }])).toEqual(['ENODEV']);
  });

  test('a VXLAN device keeps its identifier and takes forwarding entries', () => {
    const { home } = make();
    const fdb = { dev: 'vx', mac: mac(9), dst: '192.0.2.9' };
    applyAll(home, [
      {
        verb: 'create',
        kind: 'vxlan',
        value: { name: 'vx', mac: mac(3), mtu: 1400, vni: 77, local: '127.0.0.1', port: 4789 },
      },
      up('vx'),
      { verb: 'set', kind: 'fdb', value: fdb },
    ]);
    expect(home.links().find((l) => l.name === 'vx')).toMatchObject({
      kind: 'vxlan',
      vxlan: { vni: 77, local: '127.0.0.1', port: 4789, on: [] },
      mtu: 1400,
    });
    expect(home.fdb()).toEqual([fdb]);
    expect(
      codes(home, [
        { verb: 'delete', kind: 'fdb', value: fdb },
        { verb: 'delete', kind: 'fdb', value: fdb },
      ]),
    ).toEqual([undefined, 'ENOENT']);
  });

  test('a VXLAN device tells all that it was made with, and takes another address only when it is made again', () => {
    const { home } = make();
    const create = (local: string, port: number): NetlinkOp => ({
      verb: 'create',
      kind: 'vxlan',
      value: { name: 'vx', mac: mac(3), mtu: 1400, vni: 78, local, port },
    });
    const details = (): unknown => home.links().find((l) => l.name === 'vx')?.vxlan;
    applyAll(home, [create('::1', 4789), up('vx')]);
    expect(details()).toEqual({ vni: 78, local: '::1', port: 4789, on: ['zeroCsum6Rx', 'zeroCsum6Tx'] });
    expect(codes(home, [create('127.0.0.1', 4790)])).toEqual(['EEXIST']);
    applyAll(home, [{ verb: 'delete', kind: 'link', name: 'vx' }, create('127.0.0.1', 4790)]);
    expect(details()).toEqual({ vni: 78, local: '127.0.0.1', port: 4790, on: [] });
  });

  test('a rule sends a source to a table of its own; tables beside the main one are not read as ours', () => {
    const { home } = make();
    applyAll(home, [veth('a0', 'a1'), up('a0'), up('a1')]);
    for (const [from, dst, via] of [
      ['10.9.0.1', '0.0.0.0/0', '169.254.1.1'],
      ['fd00:9::1', '::/0', 'fe80::1'],
    ] as const) {
      const rule = { verb: 'set', kind: 'rule', value: { from, table: 101, priority: 1101 } } as const;
      expect(codes(home, [rule, rule])).toEqual([undefined, 'EEXIST']);
      // Without any address in the namespace the kernel takes every IPv4 gateway for a broadcast address.
      applyAll(home, [
        { verb: 'set', kind: 'address', value: { dev: 'a0', cidr: hostCidr(from), scope: 'global' } },
        { verb: 'set', kind: 'route', value: { dst, type: 'unicast', dev: 'a0', via, onlink: true, table: 101 } },
      ]);
      expect(home.routes()).toEqual([]);
      expect(
        codes(home, [
          { ...rule, verb: 'delete' },
          { ...rule, verb: 'delete' },
        ]),
      ).toEqual([undefined, 'ENOENT']);
    }
  });

  test('addresses, routes and neighbours are set, shown, replaced and deleted', () => {
    const { home } = make();
    applyAll(home, [veth('a0', 'a1'), up('a0'), up('a1')]);
    const address = { dev: 'a0', cidr: '10.9.0.1/32', scope: 'global' } as const;
    const route = { dst: '10.9.1.0/24', type: 'unicast', dev: 'a0', via: '169.254.1.1', onlink: true } as const;
    const route6 = { dst: 'fd00:9::/64', type: 'unicast', dev: 'a0', via: 'fe80::9', onlink: true } as const;
    const nowhere = { dst: '10.9.2.0/24', type: 'unreachable', metric: 4000 } as const;
    const neighbour = { dev: 'a0', ip: '169.254.1.1', mac: mac(5) };
    applyAll(home, [
      { verb: 'set', kind: 'address', value: address },
      { verb: 'set', kind: 'route', value: route },
      { verb: 'set', kind: 'route', value: route6 },
      { verb: 'set', kind: 'route', value: nowhere },
      { verb: 'set', kind: 'neighbour', value: neighbour },
    ]);
    expect(home.addresses().filter((a) => a.dev === 'a0' && a.scope === 'global')).toEqual([address]);
    expect(home.routes()).toEqual(expect.arrayContaining([route, route6, nowhere]));
    expect(home.neighbours()).toEqual([neighbour]);
    // Set again, and set to something else: no error, the last one counts.
    applyAll(home, [
      { verb: 'set', kind: 'address', value: address },
      { verb: 'set', kind: 'route', value: { ...route, dev: 'a1' } },
      { verb: 'set', kind: 'neighbour', value: { ...neighbour, mac: mac(6) } },
    ]);
    expect(home.routes().filter((r) => r.dst === route.dst)).toEqual([{ ...route, dev: 'a1' }]);
    expect(home.neighbours()).toEqual([{ ...neighbour, mac: mac(6) }]);
    // The address goes last: with the last one of a device the kernel forgets its routes and neighbours too.
    const gone: NetlinkOp[] = [
      { verb: 'delete', kind: 'route', value: { ...route, dev: 'a1' } },
      { verb: 'delete', kind: 'route', value: nowhere },
      { verb: 'delete', kind: 'neighbour', value: neighbour },
      { verb: 'delete', kind: 'address', value: address },
    ];
    expect(codes(home, gone)).toEqual([undefined, undefined, undefined, undefined]);
    expect(codes(home, gone)).toEqual(['ESRCH', 'ESRCH', 'ENOENT', 'EADDRNOTAVAIL']);
  });

  test('what refers to a missing device, or to a gateway that is nowhere, is refused, and the rest is done', () => {
    const { home } = make();
    applyAll(home, [veth('a0', 'a1'), up('a0'), up('a1')]);
    expect(
      codes(home, [
        { verb: 'set', kind: 'address', value: { dev: 'zz', cidr: '10.9.0.1/32', scope: 'global' } },
        { verb: 'set', kind: 'route', value: { dst: '10.9.3.0/24', type: 'unicast', dev: 'a0', via: '10.77.0.1' } },
        { verb: 'set', kind: 'route', value: { dst: '10.9.4.0/24', type: 'unicast', dev: 'a0', scope: 'link' } },
      ]),
    ).toEqual(['ENODEV', 'ENETUNREACH', undefined]);
    expect(home.routes().map((r) => r.dst)).toEqual(['10.9.4.0/24']);
  });

  test('a route needs its device to be up, and goes with it', () => {
    const { home } = make();
    const route: NetlinkOp = {
      verb: 'set',
      kind: 'route',
      value: { dst: '10.9.5.0/24', type: 'unicast', dev: 'a0', scope: 'link' },
    };
    applyAll(home, [veth('a0', 'a1')]);
    expect(codes(home, [route])).toEqual(['ENETDOWN']);
    applyAll(home, [up('a0'), up('a1'), route]);
    applyAll(home, [{ verb: 'delete', kind: 'link', name: 'a0' }]);
    expect(home.routes()).toEqual([]);
  });

  test('links of a group go together, and no others', () => {
    const { home } = make();
    applyAll(home, [
      veth('a0', 'a1'),
      veth('c0', 'c1'),
      { verb: 'set', kind: 'link', name: 'a0', change: { group: 7 } },
    ]);
    applyAll(home, [{ verb: 'delete', kind: 'group', group: 7 }]);
    expect(
      home
        .links()
        .map((l) => l.name)
        .sort(),
    ).toEqual(['c0', 'c1', 'lo']);
  });

  test('a whole batch may refer to what it creates', () => {
    const { home } = make();
    applyAll(home, [
      veth('a0', 'a1'),
      up('a0'),
      { verb: 'set', kind: 'neighbour', value: { dev: 'a0', ip: 'fd00::5', mac: mac(5) } },
      veth('c0', 'c1'),
      up('c0'),
      up('c1'),
      { verb: 'set', kind: 'route', value: { dst: '10.1.0.0/16', type: 'unicast', dev: 'c0', scope: 'link' } },
    ]);
    expect(home.routes()).toHaveLength(1);
  });
}
