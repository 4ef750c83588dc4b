import { createHash } from 'node:crypto';
import { applyAll, type Netlink, type NetlinkOp, openNetlink } from '../../lib/netlink/netlink.ts';
import { isGone, NetlinkError } from '../../lib/netlink/error.ts';
import { familyOf, ipToBytes, mustIp } from '../../lib/ip/address.ts';
import { hostCidr } from '../../lib/ip/prefix.ts';
import { writeSysctls } from '../../lib/netns/sysctl.ts';
import { GATEWAY, GATEWAY_MAC, POD_PREFIX } from '../plan/names.ts';
import type { Attachment } from './attachment.ts';

/** Name of the node's end: deterministic, 15 characters. */
export function hostInterfaceName(id: string): string {
  return `${POD_PREFIX}${createHash('sha256').update(id).digest('hex').slice(0, 12)}`;
}

/** The pod's MAC follows its first address: the next pod with the address has the same neighbour entry. */
export function podMac(ips: readonly string[]): string {
  const bytes = ipToBytes(mustIp(ips[0] ?? '0.0.0.0'));
  return [0x06, bytes.length === 4 ? 0x04 : 0x06, ...bytes.slice(-4)]
    .map((b) => b.toString(16).padStart(2, '0'))
    .join(':');
}

/** Makes the pair, the node's end in `home` and still down, the other in the pod: addressed, up, with its gateway. */
export function wirePod(home: Netlink, a: Attachment): void {
  applyAll(home, [
    {
      verb: 'create',
      kind: 'veth',
      value: { name: a.hostIf, mac: GATEWAY_MAC, mtu: a.mtu },
      peer: { name: a.ifname, mac: a.mac, mtu: a.mtu, netns: a.netns },
    },
  ]);
  using pod = openNetlink(a.netns);
  writeSysctls(
    {
      [`net/ipv6/conf/${a.ifname}/accept_ra`]: '0',
      [`net/ipv6/conf/${a.ifname}/accept_dad`]: '0',
      // No link-local address, and so no route to fe80::/64: a pod has one neighbour, its gateway, which is permanent. All namespaces
      // of a node have one neighbour table together, and each address that a pod looks for on a link would be an entry of it.
      [`net/ipv6/conf/${a.ifname}/addr_gen_mode`]: '1',
    },
    a.netns,
  );
  const dev = a.ifname;
  applyAll(pod, [
    { verb: 'set', kind: 'link', name: 'lo', change: { up: true } },
    { verb: 'set', kind: 'link', name: dev, change: { up: true } },
    ...a.ips.map(
      (ip): NetlinkOp => ({ verb: 'set', kind: 'address', value: { dev, cidr: hostCidr(ip), scope: 'global' } }),
    ),
    ...familiesOf(a).map(
      (f): NetlinkOp => ({ verb: 'set', kind: 'neighbour', value: { dev, ip: GATEWAY[f], mac: GATEWAY_MAC } }),
    ),
    ...(a.extra ? extraRoutes(a, a.extra.prefixes) : firstRoutes(a)),
    ...(a.table === undefined ? [] : replyRoutes(a, a.table)),
  ]);
}

const familiesOf = (a: Pick<Attachment, 'ips'>): (4 | 6)[] => [...new Set(a.ips.map(familyOf))];
const DEFAULT = { 4: '0.0.0.0/0', 6: '::/0' } as const;

/** Everything by the gateway. */
function firstRoutes(a: Attachment): NetlinkOp[] {
  const dev = a.ifname;
  return familiesOf(a).flatMap((f): NetlinkOp[] => [
    ...(f === 4
      ? [
          {
            verb: 'set',
            kind: 'route',
            value: { dst: `${GATEWAY[f]}/32`, type: 'unicast', dev, scope: 'link' },
          } as const,
        ]
      : []),
    {
      verb: 'set',
      kind: 'route',
      value: { dst: DEFAULT[f], type: 'unicast', dev, via: GATEWAY[f], ...(f === 6 ? { onlink: true } : {}) },
    },
  ]);
}

/** Only the network's own prefixes. */
function extraRoutes(a: Attachment, prefixes: readonly string[]): NetlinkOp[] {
  return a.ips.flatMap((ip) =>
    prefixes
      .filter((p) => familyOf(p) === familyOf(ip))
      .map((dst): NetlinkOp => ({ verb: 'set', kind: 'route', value: { ...byGateway(a, ip), dst } })),
  );
}

/**
 * Replies leave by where the request came in, whatever the client: by the main table one could leave by another interface, where its
 * source address is a forgery. Only what is sent without a source of its own goes by the main table.
 */
function replyRoutes(a: Attachment, table: number): NetlinkOp[] {
  return a.ips.flatMap((ip): NetlinkOp[] => [
    { verb: 'set', kind: 'route', value: { ...byGateway(a, ip), dst: DEFAULT[familyOf(ip)], table } },
    { verb: 'set', kind: 'rule', value: { from: ip, table, priority: 1000 + table } },
  ]);
}

const byGateway = (a: Attachment, ip: string) =>
  ({ type: 'unicast', dev: a.ifname, via: GATEWAY[familyOf(ip)], onlink: true, src: ip }) as const;

/** Number of the link group that waits to be deleted. Only links of ours are ever put in it. */
const DOOMED_GROUP = 0x6268;

/** Removes links of one namespace in one RCU wait. Links that are gone already are no error. */
export function removeLinks(home: Netlink, names: readonly string[]): void {
  const marked = home.apply(
    names.map((name) => ({ verb: 'set', kind: 'link', name, change: { group: DOOMED_GROUP } })),
  );
  const failed = marked.find((e) => e !== undefined && !isGone(e));
  if (failed) throw failed;
  if (marked.every((e) => e !== undefined)) return;
  const [error] = home.apply([{ verb: 'delete', kind: 'group', group: DOOMED_GROUP }]);
  if (error && !isGone(error)) throw error;
}

/** What CHECK finds wrong in the pod, in words; empty when all is as ADD left it. */
export function inspectPod(a: Attachment): string[] {
  const problems: string[] = [];
  let pod: Netlink;
  try {
    pod = openNetlink(a.netns);
  } catch (error) {
    return [`network namespace ${a.netns}: ${(error as Error).message}`];
  }
  try {
    const link = pod.links().find((l) => l.name === a.ifname);
    if (!link) return [`interface ${a.ifname} is missing`];
    if (!link.up) problems.push(`interface ${a.ifname} is down`);
    if (link.mac !== a.mac) problems.push(`interface ${a.ifname} has MAC ${link.mac} instead of ${a.mac}`);
    const addresses = pod
      .addresses()
      .filter((x) => x.dev === a.ifname)
      .map((x) => x.cidr);
    for (const ip of a.ips)
      if (!addresses.includes(hostCidr(ip))) problems.push(`address ${ip} is missing on ${a.ifname}`);
    const routes = pod.routes();
    for (const ip of a.extra ? [] : a.ips) {
      const dst = ip.includes(':') ? '::/0' : '0.0.0.0/0';
      if (!routes.some((r) => r.dst === dst && r.dev === a.ifname))
        problems.push(`default route ${dst} by ${a.ifname} is missing`);
    }
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    problems.push(error.message);
  } finally {
    pod[Symbol.dispose]();
  }
  return problems;
}
