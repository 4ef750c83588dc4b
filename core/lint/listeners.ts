import type { Protocol } from '../../api/nodeconfig.ts';
import type { Direction, Policy, PolicyRule } from '../cluster/policy.ts';
import { keyOf, type Pod } from '../cluster/state.ts';
import { groupKey } from '../policy/groups.ts';
import { podAt, type View } from '../view/view.ts';
import type { Pods } from './pods.ts';

/** How a Service leads to a pod. */
export type Way = {
  readonly service: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly nodePort: number | undefined;
  /** The pod's own port. */
  readonly target: number;
};

/** What pods listen on, all of them together. */
export type Receivers = {
  readonly pods: number;
  /** Protocols by the name of a port. */
  readonly names: ReadonlyMap<string, ReadonlySet<Protocol>>;
  /** "80/TCP" */
  readonly declared: ReadonlySet<string>;
  /** By the port of a Service or of nodes, "80/TCP": where that leads to. */
  readonly ways: ReadonlyMap<string, Way>;
};

/** What the pods listen on that a rule leads to; equal peers are asked once. */
export class Listeners {
  readonly #view: View;
  readonly #pods: Pods;
  readonly #waysToPod: ReadonlyMap<string, readonly Way[]>;
  readonly #receivers = new Map<string, Receivers>();

  constructor(view: View, pods: Pods) {
    this.#view = view;
    this.#pods = pods;
    this.#waysToPod = waysOf(view);
  }

  /** Ports of the pods that are reached by a rule; undefined when the input does not tell of any. */
  of(policy: Policy, direction: Direction, { peers }: PolicyRule): Receivers | undefined {
    if (direction === 'ingress') return policy.subject && this.#receiversOf([{ kind: 'pods', ...policy.subject }]);
    // Of prefixes all pods may be inside.
    return this.#receiversOf(peers === 'any' || peers.some((p) => p.kind !== 'pods') ? 'any' : peers);
  }

  #receiversOf(peers: PolicyRule['peers']): Receivers | undefined {
    const key = groupKey(peers);
    const known = this.#receivers.get(key);
    if (known) return known.pods === 0 ? undefined : known;
    const all = this.#view.state.pods;
    const pods =
      peers === 'any' ? [...all.values()] : peers.flatMap((peer) => (peer.kind === 'pods' ? this.#pods.of(peer) : []));
    const made = receiversOf(pods, (pod) => this.#waysToPod.get(keyOf(pod)) ?? []);
    this.#receivers.set(key, made);
    return made.pods === 0 ? undefined : made;
  }
}

function receiversOf(pods: readonly Pod[], waysTo: (pod: Pod) => readonly Way[]): Receivers {
  const names = new Map<string, Set<Protocol>>();
  const declared = new Set<string>();
  const ways = new Map<string, Way>();
  for (const pod of pods) {
    for (const { name, port, protocol } of pod.ports) {
      declared.add(`${port}/${protocol}`);
      if (name !== '') names.set(name, (names.get(name) ?? new Set<Protocol>()).add(protocol));
    }
    for (const way of waysTo(pod))
      for (const number of [way.port, way.nodePort])
        if (number !== undefined) ways.set(`${number}/${way.protocol}`, way);
  }
  return { pods: pods.length, names, declared, ways };
}

/** By pod, the ports of Services that lead to it. */
function waysOf(view: View): ReadonlyMap<string, readonly Way[]> {
  const found = new Map<string, Way[]>();
  for (const service of view.state.services.values())
    for (const slice of view.slicesByService.get(keyOf(service)) ?? [])
      for (const target of slice.ports) {
        const port = service.ports.find((p) => p.name === target.name && p.protocol === target.protocol);
        if (!port) continue;
        for (const { pod, ip } of slice.endpoints) {
          const behind = pod === '' ? podAt(view, ip) : view.state.pods.get(pod);
          if (!behind) continue;
          const { protocol, nodePort } = port;
          const way = {
            service: `Service ${keyOf(service)}`,
            protocol,
            port: port.port,
            nodePort,
            target: target.port,
          };
          const ways = found.get(keyOf(behind));
          if (ways) ways.push(way);
          else found.set(keyOf(behind), [way]);
        }
      }
  return found;
}
