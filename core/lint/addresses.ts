import { IPS, readName } from '../../api/names.ts';
import { bitsOf, formatIp } from '../../lib/ip/address.ts';
import { mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';
import type { Direction, Peer, PolicyRule } from '../cluster/policy.ts';
import { keyOf } from '../cluster/state.ts';
import { remainingPrefixes } from '../policy/groups.ts';
import { podAt } from '../view/view.ts';
import type { Finding, Say } from './finding.ts';
import type { World } from './world.ts';

/** What is written as an address and should not be: pods that change theirs, and Services, which no policy ever sees. */
export function lintNetworks(
  world: World,
  peer: Peer & { kind: 'networks' },
  path: string,
  direction: Direction,
  { action }: PolicyRule,
  say: Say,
): Finding[] {
  if (remainingPrefixes([peer]).length === 0)
    return [say('EmptyBlock', path, `holds no address: what it leaves out covers all of ${peer.cidrs.join(', ')}`)];
  if (action === 'Pass') return [];
  return peer.cidrs.flatMap((cidr) => {
    const prefix = mustPrefix(cidr);
    return lintPod(world, prefix, path, action, say) ?? lintService(world, prefix, path, direction, say) ?? [];
  });
}

function lintPod(world: World, prefix: Prefix, path: string, action: string, say: Say): Finding | undefined {
  const ip = formatIp({ family: prefix.family, value: prefix.first });
  const single = prefix.length === bitsOf(prefix.family);
  const pod = single ? podAt(world.view, ip) : undefined;
  if (pod)
    // One that asks for its address keeps it.
    return readName(IPS, pod.annotations).value === undefined
      ? say(
          'PodByAddress',
          path,
          `${ip} is pod ${keyOf(pod)} now, and another one once it starts anew: select it by labels`,
        )
      : undefined;
  if (action !== 'Accept' || !world.addresses.isOfPods(prefix) || (single && isOfNode(world, ip))) return undefined;
  const what = single ? `${ip} is in the range of pods, and no pod has it` : 'it is a part of the range of pods';
  return say('PodByAddress', path, `${what}: pods get their addresses anew, so select them by labels`);
}

const isOfNode = ({ view }: World, ip: string): boolean =>
  [...view.state.nodes.values()].some((n) => n.addresses.includes(ip) || n.further.includes(ip));

function lintService(world: World, prefix: Prefix, path: string, direction: Direction, say: Say): Finding | undefined {
  const whole = prefix.length < bitsOf(prefix.family);
  const ip = formatIp({ family: prefix.family, value: prefix.first });
  const service = whole ? undefined : world.addresses.at(ip);
  const range = world.addresses.isInRange(prefix);
  const inside = whole && !range ? world.addresses.within(prefix) : undefined;
  const what = service
    ? `${ip} is an address of ${service}`
    : range
      ? `${whole ? 'its addresses are' : `${ip} is`} in the range of Services`
      : inside
        ? `it holds ${inside}, and no pod and no node`
        : undefined;
  const usual = what === undefined && !world.complete && world.addresses.isInUsualRange(prefix);
  if (what === undefined && !usual) return undefined;
  const why =
    direction === 'egress'
      ? 'policies see the pods behind a Service and their ports, never its address: select those pods'
      : 'no packet ever comes from the address of a Service: select the pods that send';
  if (!usual) return say('ServiceByAddress', path, `${what}; ${why}`);
  return say(
    'ServiceByAddress',
    path,
    `most clusters give ${whole ? 'such addresses' : ip} to Services; ${why}`,
    'info',
  );
}
