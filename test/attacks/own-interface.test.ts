import { beforeAll, expect, test } from 'vitest';
import { GATEWAY, GATEWAY_MAC } from '../../dataplane/plan/names.ts';
import { shop, useLab } from '../system/lab.ts';

// A pod that rearranges its own interface, as root in it may: addresses of others, another hardware address, a bridge, a device on top,
// the interface in another namespace. It cuts itself off, and takes nothing from anybody.

const lab = useLab('atk-interface', { nodes: 2 });
const FAMILIES = [4, 6] as const;
const length = (f: 4 | 6): number => (f === 4 ? 32 : 128);

beforeAll(() => lab.apply([shop('a'), shop('b'), shop('flat', { isolated: false })].join('\n---\n')));

type Own = { readonly ip: (...args: string[]) => Promise<string>; readonly mac: string };
type Trick = readonly [
  name: string,
  what: (own: Own, victim: string, f: 4 | 6) => Promise<unknown>,
  undo: (own: Own, victim: string, f: 4 | 6) => Promise<unknown>,
];

const TRICKS: readonly Trick[] = [
  [
    'has the address of a pod of another tenant',
    ({ ip }, victim, f) => ip('addr', 'add', `${victim}/${length(f)}`, 'dev', 'eth0', ...(f === 6 ? ['nodad'] : [])),
    ({ ip }, victim, f) => ip('addr', 'del', `${victim}/${length(f)}`, 'dev', 'eth0'),
  ],
  [
    'has another hardware address',
    ({ ip }) => ip('link', 'set', 'eth0', 'address', '02:00:00:00:00:66'),
    ({ ip, mac }) => ip('link', 'set', 'eth0', 'address', mac),
  ],
  [
    'has a device with a hardware address of its own on top',
    async ({ ip }, victim, f) => {
      await ip('link', 'add', 'top', 'link', 'eth0', 'type', 'macvlan', 'mode', 'bridge');
      await ip('addr', 'add', `${victim}/${length(f)}`, 'dev', 'top', ...(f === 6 ? ['nodad'] : []));
      await ip('link', 'set', 'top', 'up');
    },
    ({ ip }) => ip('link', 'del', 'top'),
  ],
  [
    'has its interface in a bridge',
    async ({ ip }) => {
      await ip('link', 'add', 'bridge0', 'type', 'bridge');
      await ip('link', 'set', 'bridge0', 'up');
      await ip('link', 'set', 'eth0', 'master', 'bridge0');
    },
    ({ ip }) => ip('link', 'del', 'bridge0'),
  ],
];

test.each(
  (['a', 'flat'] as const).flatMap((ns) =>
    FAMILIES.flatMap((f) => TRICKS.map(([name, what, undo]) => [ns, f, name, what, undo] as const)),
  ),
)('a pod of %s (IPv%s) %s', async (ns, f, _name, what, undo) => {
  const mac = /link\/ether (\S+)/.exec(await lab.inPod(`${ns}/p1`, 'ip', 'link', 'show', 'eth0'))?.[1] ?? '';
  const own: Own = { mac, ip: (...args) => lab.inPod(`${ns}/p1`, 'ip', ...args) };
  const victims = ['b/p1', 'b/p2', ns === 'a' ? 'flat/p2' : 'a/p2'];
  const others = async (): Promise<unknown[]> => [
    await lab.connect('b/q1', await lab.ip('b/p1', f), 8080),
    await lab.connect('b/p2', await lab.ip('b/p1', f), 8080),
    await lab.connect('b/p1', await lab.ip('b/p2', f), 8080),
    await lab.connect(`${ns}/p2`, await lab.ip(`${ns}/q1`, f), 8080),
  ];
  const well = ['open:b/p1', 'open:b/p1', 'open:b/p2', `open:${ns}/q1`];
  for (const victim of victims) {
    const address = await lab.ip(victim, f);
    await what(own, address, f);
    try {
      expect([victim, await others()]).toEqual([victim, well]);
      // With the address of its victim, if it has that: nobody answers, and nothing of it arrives.
      const mate = await lab.ip(`${ns}/p2`, f);
      const from = ['curl', '-s', '-m', '1', '-o', '/dev/null', '-w', '%{http_code}', '--interface', address];
      const host = f === 4 ? mate : `[${mate}]`;
      const seen = await lab.inPod(`${ns}/p1`, ...from, `http://${host}:8080/`).catch(() => 'nothing');
      expect([victim, seen]).toEqual([victim, 'nothing']);
      // Its neighbours on the network go on meeting the victim, or nobody, at that address.
      expect([victim, await lab.connect(`${ns}/q1`, address, 8080, 'TCP', 700)]).toEqual([victim, 'rejected']);
    } finally {
      await undo(own, address, f);
    }
  }
  // The twin: with everything as it was, it works again.
  const to = await lab.ip(`${ns}/p2`, f);
  await repair(ns, f);
  expect(
    await lab.eventually(
      () => lab.connect(`${ns}/p1`, to, 8080),
      (v) => v.startsWith('open'),
    ),
  ).toBe(`open:${ns}/p2`);
});

test.each(['a', 'flat'])('a pod of %s without routes, and with its interface moved away', async (ns) => {
  const [to, from] = [await lab.ip(`${ns}/p2`), await lab.ip(`${ns}/p1`)];
  await lab.inPod(`${ns}/p1`, 'ip', 'route', 'flush', 'dev', 'eth0');
  expect(await lab.connect(`${ns}/p1`, to, 8080, 'TCP', 700)).not.toContain('open');
  // Into a namespace that ends at once, and the interface with it.
  const away = 'unshare -n sleep 1 & sleep 0.3; ip link set eth0 netns $!; wait';
  await lab.inPod(`${ns}/p1`, 'sh', '-c', away);
  expect(await lab.inPod(`${ns}/p1`, 'ip', '-o', 'link')).not.toContain('eth0');
  for (const f of FAMILIES) {
    expect(await lab.connect(`${ns}/p2`, await lab.ip(`${ns}/q1`, f), 8080)).toBe(`open:${ns}/q1`);
    expect(await lab.connect('b/q1', await lab.ip('b/p2', f), 8080)).toBe('open:b/p2');
  }
  expect(await lab.connect(`${ns}/p2`, from, 8080, 'TCP', 700)).not.toContain('open');
  // Its end takes nothing of others along: the address, and what was its interface on the node, serve the next pod.
  await lab.kubectl('delete', 'pod', '-n', ns, 'p1');
  await lab.apply(shop(ns, { isolated: ns === 'a' }));
  for (const f of FAMILIES)
    expect(await lab.connect(`${ns}/p2`, await lab.ip(`${ns}/p1`, f), 8080)).toBe(`open:${ns}/p1`);
});

/** What the kernel drops with a hardware address, as the plugin had made it. */
async function repair(ns: string, f: 4 | 6): Promise<void> {
  const own = (...args: string[]): Promise<string> => lab.inPod(`${ns}/p1`, 'ip', `-${f}`, ...args);
  await own('neigh', 'replace', GATEWAY[f], 'lladdr', GATEWAY_MAC, 'dev', 'eth0', 'nud', 'permanent');
  await own('route', 'replace', 'default', 'via', GATEWAY[f], 'dev', 'eth0', 'onlink');
}
