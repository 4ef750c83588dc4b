import type { CniResult } from '../../api/cni.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { hostCidr } from '../../lib/ip/prefix.ts';
import type { WiredPod } from '../apply/wired-pods.ts';
import { GATEWAY, GATEWAY_MAC } from '../plan/names.ts';
import type { Attachment } from './attachment.ts';

/** An attachment as plans know it. */
export const wiredPod = (a: Attachment): WiredPod => ({
  id: a.id,
  pod: `${a.namespace}/${a.pod}`,
  uid: a.uid,
  network: a.network,
  vni: a.vni,
  link: {
    hostIf: a.hostIf,
    mac: a.mac,
    ips: a.ips,
    mtu: a.mtu,
    ...(a.ports ? { ports: a.ports } : {}),
    ...(a.extra ? { first: a.extra.first } : {}),
  },
});

/** An attachment as the CNI specification prints it. */
export function resultOf(a: Attachment): CniResult {
  return {
    interfaces: [
      { name: a.hostIf, mac: GATEWAY_MAC, mtu: a.mtu },
      { name: a.ifname, mac: a.mac, mtu: a.mtu, sandbox: a.netns },
    ],
    ips: a.ips.map((ip) => ({ interface: 1, address: hostCidr(ip), gateway: GATEWAY[familyOf(ip)] })),
    routes: a.ips.map((ip) =>
      ip.includes(':') ? { dst: '::/0', gw: GATEWAY[6] } : { dst: '0.0.0.0/0', gw: GATEWAY[4] },
    ),
    dns: {},
  };
}
