import { FLAT_NETWORK } from '../../api/names.ts';
import type { Protocol } from '../../api/nodeconfig.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { keyOf, type Node, type Pod } from '../cluster/state.ts';
import { networkOf, podAt, type View } from '../view/view.ts';
import { decide } from './decide.ts';
import { ipsOf } from './by-networks.ts';
import type { Decision, Target } from './decision.ts';
import { translatorOf, usableBackends } from '../services/usable.ts';

/** What a probe is aimed at. */
export type ReachTarget = {
  readonly kind: 'Pod' | 'Service' | 'Node' | 'API' | 'External';
  readonly namespace: string;
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly protocol: Protocol | 'ICMP';
};

/** One question, with the answer that the design gives. `answers`: pods ("namespace/name") that may be the ones to answer. */
export type ExpectedProbe = {
  readonly from: Pod;
  readonly to: ReachTarget;
  readonly expected: Decision['verdict'];
  readonly why: string;
  readonly answers: readonly string[];
};

/** What is asked, whatever the answer: the same question at another time or of another state has the same key. */
export const probeKey = ({ from, to }: Pick<ExpectedProbe, 'from' | 'to'>): string =>
  [from.uid, to.kind, to.namespace, to.name, to.address, to.port, to.protocol].join(' ');

/** What of the world outside the cluster's objects is to be asked. */
export type ReachWorld = {
  readonly nodePort: number;
  readonly outside: readonly {
    readonly name: string;
    readonly address: string;
    readonly port: number;
    readonly protocol: Protocol;
  }[];
};

/** Every running pod to every pod port, Service port, node, the API and outside hosts, in each family that both have. */
export function expectedReach(view: View, world: ReachWorld): ExpectedProbe[] {
  const pods = [...view.state.pods.values()].filter((p) => !p.finished && p.ready && p.ips.length > 0);
  const sources = pods.filter((p) => !p.hostNetwork && networkOf(view, p) !== undefined);
  const targets = [
    ...podTargets(view, pods),
    ...serviceTargets(view),
    ...nodeTargets(view, world, (n) => n.addresses),
    ...outsideTargets(world),
  ];
  // A bridge of another node answers no pod elsewhere. Pods of isolated networks reach none of these, wherever they lead.
  const further = nodeTargets(view, world, (n) => n.further);
  return sources.flatMap((from) =>
    [...targets, ...(networkOf(view, from) === FLAT_NETWORK ? [] : further)]
      .filter((to) => from.ips.some((ip) => familyOf(ip) === familyOf(to.address)))
      .map((to) => expect(view, from, to)),
  );
}

/** The expectation of one question. */
export function expect(view: View, from: Pod, to: ReachTarget): ExpectedProbe {
  const decision = decide(view, from, to satisfies Target);
  return { from, to, expected: decision.verdict, why: decision.why, answers: answersOf(view, from, to, decision) };
}

function answersOf(view: View, from: Pod, to: ReachTarget, { verdict, destination }: Decision): string[] {
  if (verdict !== 'open') return [];
  if (destination.kind === 'Pod') return [keyOf(destination.pod)];
  if (destination.kind !== 'Service' || to.kind === 'API') return [];
  const backends = usableBackends(view, destination, to, {
    node: from.node,
    from: 'inside',
    by: translatorOf(networkOf(view, from)),
  });
  const pods = backends.map((b) => podAt(view, b.ip));
  return pods.every((p) => p !== undefined) ? pods.map(keyOf) : []; // a host's own name is not known
}

function podTargets(view: View, pods: readonly Pod[]): ReachTarget[] {
  return pods
    .filter((p) => !p.hostNetwork)
    .flatMap((p) =>
      ipsOf(view, p).flatMap((address) => {
        const base = { kind: 'Pod' as const, namespace: p.namespace, name: p.name, address };
        const ports = p.ports
          .filter((port) => port.protocol !== 'SCTP')
          .map(({ port, protocol }) => ({ ...base, port, protocol }));
        return [{ ...base, port: 0, protocol: 'ICMP' as const }, ...ports];
      }),
    );
}

function serviceTargets(view: View): ReachTarget[] {
  return [...view.state.services.values()].flatMap((s) =>
    [...s.clusterIPs, ...s.frontends.map((f) => f.ip)].flatMap((address) =>
      s.ports
        .filter((p) => p.protocol !== 'SCTP')
        .map(
          ({ port, protocol }): ReachTarget => ({
            kind: keyOf(s) === 'default/kubernetes' ? 'API' : 'Service',
            namespace: s.namespace,
            name: s.name,
            address,
            port,
            protocol,
          }),
        ),
    ),
  );
}

function nodeTargets(
  view: View,
  { nodePort }: ReachWorld,
  addressesOf: (node: Node) => readonly string[],
): ReachTarget[] {
  return [...view.state.nodes.values()].flatMap((n) =>
    addressesOf(n).flatMap((address) => [
      { kind: 'Node' as const, namespace: '', name: n.name, address, port: nodePort, protocol: 'TCP' as const },
      { kind: 'Node' as const, namespace: '', name: n.name, address, port: 0, protocol: 'ICMP' as const },
    ]),
  );
}

function outsideTargets({ outside }: ReachWorld): ReachTarget[] {
  return outside.map((o) => ({ kind: 'External', namespace: '', ...o }));
}
