import type { Direction, Policy, PolicyRule, Port } from '../cluster/policy.ts';
import { reachesFurther } from './emptiness.ts';
import type { Finding, Say } from './finding.ts';
import type { Receivers } from './listeners.ts';
import type { World } from './world.ts';

/** Ports that nothing listens on: names that no pod has, and numbers of Services where the pods have others. */
export function lintPorts(
  world: World,
  policy: Policy,
  direction: Direction,
  rule: PolicyRule,
  path: string,
  say: Say,
): Finding[] {
  if (rule.ports === 'any') return [];
  const receivers = world.listeners.of(policy, direction, rule);
  if (!receivers) return [];
  const field = policy.kind === 'NetworkPolicy' ? 'ports' : 'protocols';
  const whose = direction === 'ingress' ? 'no pod that it selects' : 'no pod that it may reach';
  // A pod that the manifests do not have may have the name.
  const isPart = !world.complete && direction === 'egress' && mayReachOthers(rule);
  return rule.ports.flatMap((port, i) => {
    const at = `${path}.${field}[${i}]`;
    if (port.kind === 'named') return lintName(port, receivers, at, whose, isPart ? asInfo(say) : say);
    return rule.peers === 'any' && direction === 'egress' ? [] : lintNumber(port, rule, receivers, at, say);
  });
}

const mayReachOthers = ({ peers }: PolicyRule): boolean =>
  peers === 'any' || peers.some((peer) => peer.kind === 'pods' && reachesFurther(peer));

const asInfo =
  (say: Say): Say =>
  (code, path, message) =>
    say(code, path, message, 'info');

/** Whether a rule's ports are all names that no receiver has: it matches nothing, and no other rule is the reason. */
export function hasNoPort(world: World, policy: Policy, direction: Direction, rule: PolicyRule): boolean {
  if (rule.ports === 'any') return false;
  const receivers = world.listeners.of(policy, direction, rule);
  return rule.ports.every((p) => p.kind === 'named' && !(receivers && isThere(p, receivers)));
}

type Named = Port & { kind: 'named' };

const isThere = ({ name, protocol }: Named, { names }: Receivers): boolean =>
  protocol === undefined ? names.has(name) : (names.get(name)?.has(protocol) ?? false);

function lintName(port: Named, receivers: Receivers, path: string, whose: string, say: Say): Finding[] {
  if (isThere(port, receivers)) return [];
  const other = [...(receivers.names.get(port.name) ?? [])];
  if (other.length > 0)
    return [
      say(
        'NoSuchPort',
        path,
        `port ${port.name} is ${other.join(' and ')} where there is one, and the rule names ${port.protocol}`,
      ),
    ];
  const names = [...receivers.names.keys()].slice(0, MOST_NAMED);
  const have = names.length > 0 ? `; they have ${names.join(', ')}` : '; they name none';
  return [say('NoSuchPort', path, `${whose} has a port named ${port.name}${have}`)];
}

const MOST_NAMED = 5;

function lintNumber(
  { protocol, first, last }: Port & { kind: 'range' },
  rule: PolicyRule,
  { declared, ways }: Receivers,
  path: string,
  say: Say,
): Finding[] {
  const way = ways.get(`${first}/${protocol}`);
  if (first !== last || !way || way.target === first || declared.has(`${first}/${protocol}`)) return [];
  const admitted =
    rule.ports === 'any' ||
    rule.ports.some((p) =>
      p.kind === 'range' ? p.protocol === protocol && p.first <= way.target && way.target <= p.last : false,
    );
  if (admitted) return [];
  const what = way.port === first ? 'the port' : 'the node port';
  return [
    say(
      'ServicePort',
      path,
      `${first} is ${what} of ${way.service}, and its pods listen on ${way.target}: policies see the port of the pod`,
    ),
  ];
}
