import type { Policy } from '../cluster/policy.ts';
import { parseClusterNetworkPolicy } from './cluster-network-policy.ts';
import { readKindOf } from './kinds.ts';
import { parseNetworkPolicy } from './network-policy.ts';

/** A policy of either kind, or undefined for any other object. Never throws: what is wrong is in `problems`. */
export function parsePolicy(raw: Readonly<Record<string, unknown>>): Policy | undefined {
  const kind = readKindOf(raw);
  if (kind === 'NetworkPolicy') return parseNetworkPolicy(raw);
  if (kind === 'ClusterNetworkPolicy') return parseClusterNetworkPolicy(raw);
  return undefined;
}
