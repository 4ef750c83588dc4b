import { closeSync, openSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { netlinkConformance } from '../../lib/netlink/conformance.ts';
import { openNetlink } from '../../lib/netlink/netlink.ts';
import { NetlinkSocket } from '../../lib/netlink/socket.ts';
import { nftConformance } from '../../lib/nft/conformance.ts';
import { encodeElement, type NftSet } from '../../lib/nft/elements.ts';
import { openNft } from '../../lib/nft/nft.ts';
import { type NftChange, type NftObject, renderFresh, type TableName } from '../../lib/nft/program.ts';
import { testNamespaces } from './namespaces.ts';

// The same suites that the fakes pass, on this machine's kernel.

const namespace = testNamespaces('kernel');

describe('netlink: the kernel', () => {
  netlinkConformance(() => {
    const otherPath = namespace('other');
    return { home: openNetlink(namespace('home')), other: openNetlink(otherPath), otherPath };
  });
});

describe('nft: the kernel', () => nftConformance(() => openNft(namespace('nft'))));

type Case = {
  readonly type: string;
  readonly to?: string;
  readonly flags?: readonly string[];
  readonly key: string;
  readonly value?: string;
};

describe('elements without the parser', () => {
  const T: TableName = 'inet short';
  const cases: readonly Case[] = [
    { type: 'ipv4_addr', key: '10.1.2.3' },
    { type: 'ipv6_addr', key: 'fd00:10:244:1::5' },
    { type: 'ifname', key: '"bhp0123456789ab"' },
    { type: 'inet_service', key: '8080' },
    { type: 'inet_proto', key: 'tcp' },
    { type: 'mark', key: '0x00010002' },
    { type: 'ipv4_addr', to: 'mark', key: '10.1.2.3', value: '0x0000abcd' },
    { type: 'ipv6_addr', to: 'mark', key: 'fd00::1', value: '7' },
    { type: 'mark . inet_proto . inet_service', to: 'verdict', key: '0x00010002 . tcp . 443', value: 'goto there' },
    { type: 'mark . inet_proto . inet_service', to: 'verdict', key: '65538 . udp . 53', value: 'accept' },
    { type: 'mark . inet_proto', to: 'verdict', key: '1 . 132', value: 'drop' },
    { type: 'mark', to: 'verdict', key: '5', value: 'jump there' },
    { type: 'ifname . ipv4_addr', key: '"bhp1" . 10.0.0.1' },
    {
      type: 'inet_proto . ipv6_addr . inet_service . ipv6_addr . inet_service',
      key: 'udp . fd00::1 . 53 . fd00::2 . 4000',
    },
    { type: 'ipv4_addr', flags: ['interval'], to: 'mark', key: '10.0.0.0/8', value: '1' },
    { type: 'ipv4_addr', flags: ['interval'], key: '10.0.0.0/23' },
    { type: 'ipv4_addr', flags: ['interval'], to: 'mark', key: '10.1.2.3', value: '1' },
    { type: 'ipv4_addr', flags: ['interval'], to: 'mark', key: '0.0.0.0/0', value: '1' },
    { type: 'ipv4_addr', flags: ['interval'], key: '255.255.255.0/24' },
    { type: 'ipv4_addr', flags: ['interval'], key: '10.0.0.3-10.0.1.200' },
    { type: 'ipv6_addr', flags: ['interval'], to: 'mark', key: 'fd00::/9', value: '7' },
    { type: 'ipv6_addr', flags: ['interval'], key: 'ffff::/16' },
    { type: 'inet_service', flags: ['interval'], key: '30000-32767' },
    {
      type: 'mark . inet_proto . inet_service',
      flags: ['interval'],
      to: 'verdict',
      key: '0x00010002 . tcp . 5000-5999',
      value: 'goto there',
    },
    {
      type: 'mark . inet_proto . inet_service',
      flags: ['interval'],
      to: 'verdict',
      key: '0x00010002 . tcp . 80',
      value: 'goto there',
    },
    { type: 'ipv4_addr . inet_proto . inet_service', flags: ['interval'], key: '10.0.0.0/24 . tcp . 1-65535' },
  ];

  test.each(cases)('$type to $to: $key is what nft writes', ({ type, to, flags, key, value }) => {
    const set: NftSet = {
      kind: 'set',
      name: 's',
      type,
      ...(to === undefined ? {} : { to }),
      ...(flags === undefined ? {} : { flags }),
    };
    const element = { kind: 'element', set: 's', key, ...(value === undefined ? {} : { value }) } as const;
    const there: NftObject = { kind: 'chain', name: 'there', rules: [] };
    using byText = openNft(namespace('text'));
    byText.run(renderFresh(T, [there, set, element]));
    using byBytes = openNft(namespace('bytes'));
    byBytes.run(renderFresh(T, [there, set]));
    const change = (c: NftChange): void => byBytes.change(T, [c], () => set);
    expect(encodeElement(set, element)).toBeDefined();
    change({ verb: 'set', object: element, before: undefined });
    expect(byBytes.list(`list table ${T}`)).toContain('elements = ');
    expect(byBytes.list(`list table ${T}`)).toBe(byText.list(`list table ${T}`));
    change({ verb: 'delete', object: element });
    expect(byBytes.list(`list table ${T}`)).not.toContain('elements = ');
  });

  test('intervals that touch, by text and by bytes in turns: each of the two takes away what the other wrote', () => {
    const set: NftSet = { kind: 'set', name: 's', type: 'ipv4_addr', to: 'mark', flags: ['interval'] };
    const of = (key: string, value = '1') => ({ kind: 'element', set: 's', key, value }) as const;
    const [a, b, c] = [of('10.0.0.0/24'), of('10.0.1.0/24', '2'), of('10.0.2.0/23')];
    using nft = openNft(namespace('touch'));
    const listed = (): string[] => nft.list(`list table ${T}`).match(/10\.[\d./]+/g) ?? [];
    nft.run(renderFresh(T, [set, a, b]));
    const change = (...changes: NftChange[]): void => nft.change(T, changes, () => set);
    change({ verb: 'set', object: c, before: undefined }, { verb: 'delete', object: b });
    expect(listed()).toEqual([a.key, c.key]);
    change({ verb: 'set', object: of(a.key, '9'), before: a }, { verb: 'set', object: b, before: undefined });
    expect(listed()).toEqual([a.key, b.key, c.key]);
    expect(nft.list(`list table ${T}`)).toContain('10.0.0.0/24 : 0x00000009');
    nft.run(`delete element ${T} s { 10.0.0.0/24, 10.0.1.0/24 }\n`);
    expect(listed()).toEqual([c.key]);
    // A prefix and its halves are one change: at no time is it in neither.
    change(
      { verb: 'delete', object: c },
      { verb: 'set', object: of('10.0.2.0/24'), before: undefined },
      { verb: 'set', object: of('10.0.3.0/24', '4'), before: undefined },
    );
    expect(listed()).toEqual(['10.0.2.0/24', '10.0.3.0/24']);
  });

  test('what only the parser knows goes to the parser', () => {
    const set: NftSet = { kind: 'set', name: 's', type: 'mark', flags: ['interval'] };
    const element = { kind: 'element', set: 's', key: '1-5' } as const;
    expect(encodeElement(set, element)).toBeUndefined();
    using nft = openNft(namespace('parser'));
    nft.run(renderFresh(T, [set]));
    nft.change(T, [{ verb: 'set', object: element, before: undefined }], () => set);
    expect(nft.list(`list table ${T}`)).toContain('0x00000001-0x00000005');
  });
});

describe('file numbers', () => {
  test('libnftables works in more namespaces than it has low numbers for, with all numbers below 1024 in use', () => {
    const paths = Array.from({ length: 40 }, (_, i) => namespace(`many-${i}`));
    using first = openNft(paths[0]);
    first.run('add table inet first\n');
    const files: number[] = [];
    try {
      do files.push(openSync('/dev/null', 'r'));
      while ((files.at(-1) ?? 0) < 1100);
      const all = paths.map((path) => openNft(path));
      for (const nft of all) nft.run('add table inet many\n');
      for (const nft of all) expect(nft.list('list tables')).toContain('table inet many');
      expect(first.list('list tables')).toContain('table inet first');
      // The rest of the way is open to all numbers.
      for (const path of paths) {
        using netlink = openNetlink(path);
        expect(netlink.links().map((l) => l.name)).toContain('lo');
      }
      for (const nft of all) nft[Symbol.dispose]();
    } finally {
      for (const fd of files) closeSync(fd);
    }
  });

  test('out of files altogether: an error that says so, and all is well when there are some again', () => {
    const path = namespace('none-left');
    using nft = openNft(path);
    const files: number[] = [];
    try {
      for (;;) files.push(openSync('/dev/null', 'r'));
    } catch {
      // as many as the process may have
    }
    try {
      expect(() => nft.run('add table inet t\n')).toThrow(/EMFILE|RLIMIT_NOFILE/);
      expect(() => NetlinkSocket.open(path)).toThrow(/EMFILE/);
    } finally {
      for (const fd of files) closeSync(fd);
    }
    nft.run('add table inet t\n');
    expect(nft.list('list tables')).toContain('table inet t');
  });
});
