import type { Address, Fdb, Neighbour, Route } from '../../lib/netlink/inet.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import type { Sysctls } from '../../lib/netns/sysctl.ts';
import type { SetName } from './names.ts';

/** A device that should be there. All are brought up, after the nft table stands. */
export type DesiredLink = {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  /** How to make it when it is missing. `pod`: only ADD can, since it needs the pod's namespace. */
  readonly make:
    | { readonly kind: 'vxlan'; readonly vni: number; readonly local: string; readonly port: number }
    | { readonly kind: 'uplink'; readonly rootName: string; readonly rootMac: string }
    | { readonly kind: 'elsewhere' }
    | { readonly kind: 'pod' };
};

/** What one thing wants of one namespace. */
export type Fragment = {
  readonly links?: readonly DesiredLink[];
  readonly addresses?: readonly Address[];
  readonly routes?: readonly Route[];
  readonly neighbours?: readonly Neighbour[];
  readonly fdb?: readonly Fdb[];
  readonly nft?: readonly NftObject[];
  readonly sysctls?: Sysctls;
};

/** Short form for an element of a set or map. */
export function element(set: SetName, key: string, value?: string): NftObject & { readonly kind: 'element' } {
  return value === undefined ? { kind: 'element', set, key } : { kind: 'element', set, key, value };
}
