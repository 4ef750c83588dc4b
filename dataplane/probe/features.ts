import { createNetns, deleteNetns } from '../../lib/netns/netns.ts';
import { readSysctl } from '../../lib/netns/sysctl.ts';
import { applyAll, openNetlink } from '../../lib/netlink/netlink.ts';
import { openNft } from '../../lib/nft/nft.ts';

/** What this node's kernel lacks. `required`: pods cannot be attached without; else `message` says what is done in its place. */
export type Lack = { readonly feature: string; readonly required: boolean; readonly message: string };

type Nft = ReturnType<typeof openNft>;
type Rule = { readonly feature: string; readonly text: string };

const RULES: readonly Rule[] = [
  { feature: 'nft sets with concatenations', text: 'add set inet probe s { type ifname . ipv4_addr; }' },
  {
    feature: 'nft verdict maps',
    text: 'add map inet probe m { type ipv4_addr . inet_proto . inet_service : verdict; }',
  },
  { feature: 'nft intervals', text: 'add set inet probe i { type ipv4_addr; flags interval; }' },
  {
    feature: 'nft intervals of concatenations',
    text: 'add set inet probe r { type ipv4_addr . inet_proto . inet_service; flags interval; }',
  },
  { feature: 'nft connection tracking', text: 'add rule inet probe f ct state established,related accept' },
  { feature: 'nft ct mark', text: 'add rule inet probe n ct mark set 1' },
  { feature: 'nft dnat', text: 'add rule inet probe n meta nfproto ipv4 meta l4proto tcp dnat ip to 192.0.2.1:1' },
  { feature: 'nft masquerade', text: 'add rule inet probe p meta nfproto ipv4 masquerade' },
  { feature: 'nft reject', text: 'add rule inet probe f reject with icmpx admin-prohibited' },
  { feature: 'nft numgen', text: 'add rule inet probe f numgen random mod 2 0 accept' },
  {
    feature: 'nft rate limits by source',
    text:
      'add set inet probe d { type ipv4_addr; size 16; flags dynamic,timeout; timeout 1s; }\n' +
      'add rule inet probe f ct status and confirmed == 0 update @d { ip saddr limit rate over 1/second burst 5 packets } drop',
  },
  {
    feature: 'nft arp',
    text: 'add table arp probe\nadd chain arp probe i { type filter hook input priority 0; policy drop; }',
  },
  { feature: 'nft fib', text: 'add rule inet probe f fib daddr type local accept' },
];

/** Without it the log does not say which packets a policy drops. */
export const PACKET_LOG = 'nft log groups';

/** Tries everything that the data plane is made of, in a scratch namespace, and says what is missing. Leaves nothing behind. */
export function probeFeatures(dir = '/run/netns'): Lack[] {
  const path = `${dir}/bh-probe-${process.pid}`;
  const lacks: Lack[] = [];
  const attempt = (feature: string, message: string, work: () => void): boolean => {
    try {
      work();
      return true;
    } catch (error) {
      lacks.push({ feature, required: true, message: `${message} (${(error as Error).message})` });
      return false;
    }
  };
  if (!attempt('network namespaces', 'the kernel needs CONFIG_NET_NS, and the agent root', () => createNetns(path)))
    return lacks;
  try {
    attempt('veth', 'load module veth (CONFIG_VETH)', () => probeLink(path, { kind: 'veth' }));
    attempt('vxlan', 'load module vxlan (CONFIG_VXLAN)', () => probeLink(path, { kind: 'vxlan' }));
    attempt('nf_tables', 'load module nf_tables (CONFIG_NF_TABLES_INET); libnftables 1 must be there', () => {
      using nft = openNft(path);
      nft.run(
        'add table inet probe\nadd chain inet probe f { type filter hook forward priority 0; }\n' +
          'add chain inet probe n { type nat hook prerouting priority -100; }\nadd chain inet probe p { type nat hook postrouting priority 100; }\n',
      );
      for (const { feature, text } of RULES) probeRule(nft, feature, text, lacks);
      const logs: Lack[] = [];
      probeRule(nft, PACKET_LOG, 'add rule inet probe f log prefix "probe" group 5 snaplen 64', logs);
      for (const { feature, message } of logs)
        lacks.push({ feature, required: false, message: `${message}: drops are only counted` });
    });
  } finally {
    deleteNetns(path);
  }
  if (readSysctl('net/ipv6/conf/all/forwarding') === undefined)
    lacks.push({ feature: 'IPv6', required: false, message: 'the kernel has no IPv6: pods get IPv4 addresses only' });
  if (readSysctl('net/netfilter/nf_conntrack_sctp_timeout_established') === undefined)
    lacks.push({
      feature: 'SCTP',
      required: false,
      message: 'the kernel does not track SCTP (CONFIG_NF_CT_PROTO_SCTP): Services with that protocol do not work',
    });
  return lacks;
}

function probeRule(nft: Nft, feature: string, text: string, lacks: Lack[]): void {
  try {
    nft.run(`${text}\n`);
  } catch (error) {
    const [line = ''] = (error as Error).message.split('\n');
    lacks.push({
      feature,
      required: true,
      message: `the kernel refuses "${text}" (${line}); load the module or use a kernel with it`,
    });
  }
}

function probeLink(netns: string, { kind }: { readonly kind: 'veth' | 'vxlan' }): void {
  using netlink = openNetlink(netns);
  const mac = '02:62:68:00:00:0f';
  applyAll(netlink, [
    kind === 'veth'
      ? {
          verb: 'create',
          kind,
          value: { name: 'bhprobe0', mac, mtu: 1500 },
          peer: { name: 'bhprobe1', mac, mtu: 1500 },
        }
      : { verb: 'create', kind, value: { name: 'bhprobe2', mac, mtu: 1450, vni: 1, local: '192.0.2.1', port: 4789 } },
  ]);
}
