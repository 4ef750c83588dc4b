import { parseJson } from '../../lib/text/json.ts';
import { overBudget } from '../../api/budgets.ts';
import { NETWORK_STATUS } from '../../api/names.ts';
import type { NetworkKey } from '../../api/nodeconfig.ts';
import { canonicalIp } from '../../lib/ip/address.ts';
import type { Pod, PodInterface } from '../cluster/state.ts';

/** An interface as its agent reports it. */
export type ReportedInterface = PodInterface & { readonly extra: boolean };

/**
 * The value of `k8s.v1.cni.cncf.io/network-status`: what a pod really has, as Multus writes it (Network Custom Resource Definition
 * De-facto Standard 1.3, section 5.1). First interface first, then as they were asked for.
 *
 * @param order names of the further interfaces, as the pod's annotation has them
 */
export function networkStatus(interfaces: readonly ReportedInterface[], order: readonly string[]): string {
  const places = new Map(order.map((ifname, i) => [ifname, i]));
  const place = ({ ifname }: ReportedInterface): number => places.get(ifname) ?? order.length;
  const sorted = [...interfaces].sort(
    (a, b) => Number(a.extra) - Number(b.extra) || place(a) - place(b) || (a.ifname < b.ifname ? -1 : 1),
  );
  return JSON.stringify(
    sorted.map(({ network, ifname, ips, mac, extra }) => ({
      name: network,
      interface: ifname,
      ips,
      mac,
      default: !extra,
      dns: {},
    })),
    undefined,
    2,
  );
}

/** Reads it back: the interfaces beside the first. What cannot be read is none. */
export function readNetworkStatus(pod: Pick<Pod, 'annotations'>): PodInterface[] {
  let value: unknown;
  const text = pod.annotations[NETWORK_STATUS] ?? '[]';
  if (overBudget('networkStatusLength', text.length, 'characters') !== undefined) return [];
  try {
    value = parseJson(text);
  } catch {
    return [];
  }
  if (!Array.isArray(value)) return [];
  return (value as readonly (Record<string, unknown> | null)[]).flatMap((entry) => {
    const { name, interface: ifname, ips, mac, default: first } = entry ?? {};
    if (first === true || typeof name !== 'string' || !name.includes('/') || typeof ifname !== 'string') return [];
    const addresses = Array.isArray(ips)
      ? ips.flatMap((ip) => (typeof ip === 'string' ? (canonicalIp(ip) ?? []) : []))
      : [];
    return [{ ifname, network: name satisfies NetworkKey, ips: addresses, mac: typeof mac === 'string' ? mac : '' }];
  });
}
