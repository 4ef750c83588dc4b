import type { Pod } from '../../core/cluster/state.ts';
import type { End } from '../../core/policy/evaluate.ts';
import { familyOf } from '../../lib/ip/address.ts';

/** The address of a pod that another would use: of a family that both have. */
export function endOf(from: Pod, to: Pod): End {
  const ip = to.ips.find((a) => from.ips.some((own) => familyOf(own) === familyOf(a))) ?? to.ips[0] ?? '';
  return { ip, pod: to.hostNetwork ? undefined : to };
}
