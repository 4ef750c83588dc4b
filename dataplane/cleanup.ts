import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { hostCidr } from '../lib/ip/prefix.ts';
import { deleteNetns } from '../lib/netns/netns.ts';
import { isGone } from '../lib/netlink/error.ts';
import { type Netlink, type NetlinkOp, openNetlink } from '../lib/netlink/netlink.ts';
import { openNft } from '../lib/nft/nft.ts';
import { CONFLIST } from './cniserver/conflist.ts';
import { loadConfig } from './follow/saved-config.ts';
import { ARP_TABLE, TABLE } from './plan/names.ts';
import { probeSource } from '../core/nodes/addresses.ts';

/** Where things are; `host` is the node's file system as this process sees it, "" when it runs on the node itself. */
export type CleanupPlaces = {
  readonly host: string;
  readonly runDir: string;
  readonly stateDir: string;
  readonly cniConfDir: string;
  readonly cniBinDir: string;
};

/**
 * Takes away all that an agent has made on a node: links, routes, namespaces, table, files. What others made is not touched: ours is
 * told by name (bh0, bhu*, bhp*, bh-*), by route protocol, or by place. Says what it removed. Safe to repeat.
 */
export function cleanUpNode(p: CleanupPlaces): string[] {
  const removed: string[] = [];
  const at = (path: string): string => join(p.host, path);
  // First the configuration, so that the runtime asks for no network that is going away.
  const conflist = at(join(p.cniConfDir, CONFLIST));
  if (existsSync(conflist)) {
    rmSync(conflist);
    removed.push(conflist);
  }
  const { node } = loadConfig(at(join(p.stateDir, 'nodeconfig.json')));
  const sources = [...node.values()].flatMap((n) => n.podCIDRs).map((c) => hostCidr(probeSource(c)));
  using netlink = openNetlink();
  removed.push(...removeFromRoot(netlink, new Set(sources)));
  using nft = openNft();
  for (const table of [TABLE, ARP_TABLE]) {
    if (!nft.list('list tables').includes(`table ${table}\n`)) continue;
    nft.run(`delete table ${table}\n`);
    removed.push(`table ${table}`);
  }
  const netnsDir = at('/run/netns');
  for (const name of existsSync(netnsDir) ? readdirSync(netnsDir) : []) {
    if (!/^bh-(\d+|probe-\d+)$/.test(name)) continue;
    deleteNetns(join(netnsDir, name));
    removed.push(`namespace ${name}`);
  }
  for (const path of [
    at(join(p.cniBinDir, 'bulkhead')),
    at(join(p.cniBinDir, '.bulkhead.next')),
    at(p.runDir),
    at(p.stateDir),
  ]) {
    if (!existsSync(path)) continue;
    rmSync(path, { recursive: true });
    removed.push(path);
  }
  return removed;
}

function removeFromRoot(netlink: Netlink, sources: ReadonlySet<string>): string[] {
  const ops: NetlinkOp[] = [
    ...netlink.routes().map((value): NetlinkOp => ({ verb: 'delete', kind: 'route', value })),
    ...netlink
      .addresses()
      .filter((a) => a.dev === 'lo' && sources.has(a.cidr))
      .map((value): NetlinkOp => ({ verb: 'delete', kind: 'address', value })),
    ...netlink
      .links()
      .filter((l) => /^bh(0|[pu].+)$/.test(l.name))
      .map(({ name }): NetlinkOp => ({ verb: 'delete', kind: 'link', name })),
  ];
  const errors = netlink.apply(ops);
  const failed = errors.find((e) => e !== undefined && !isGone(e));
  if (failed) throw failed;
  return ops.map((op) =>
    op.kind === 'link'
      ? `link ${'name' in op ? op.name : ''}`
      : op.kind === 'route' && 'value' in op
        ? `route ${op.value.dst}`
        : `address on lo`,
  );
}
