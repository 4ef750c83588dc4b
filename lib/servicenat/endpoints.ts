/** Conditions of one endpoint, as an EndpointSlice has them. */
export type Conditions = { readonly ready: boolean; readonly serving: boolean; readonly terminating: boolean };

/** One endpoint of one Service port and family, with all that decides where it is used. */
export type Endpoint = {
  /** Where it runs; "" when the slice does not say. */
  readonly node: string;
  /** Not ready any more, but it still serves while it terminates (KEP-1669). Absent: it is ready. */
  readonly ending?: true;
  /** Zones and nodes that should use it (hints of the slice); absent: no hint. */
  readonly zones?: readonly string[];
  readonly nodes?: readonly string[];
};

/** The node that chooses. `zone`: its label topology.kubernetes.io/zone, "" without one. */
export type Place = { readonly node: string; readonly zone: string };

export type TrafficPolicy = 'Cluster' | 'Local';

/** Kinds of addresses by which a Service is reached. */
export type FrontendKind = 'ClusterIP' | 'ExternalIP' | 'LoadBalancerIP' | 'NodePort';

/** What an endpoint in this condition is good for; undefined: nothing. `ready` wins: it is how publishNotReadyAddresses shows. */
export function usefulness({ ready, serving, terminating }: Conditions): 'Ready' | 'Ending' | undefined {
  if (ready) return 'Ready';
  return serving && terminating ? 'Ending' : undefined;
}

/**
 * Which policy holds for a packet. `inside`: it comes from a pod of the node or from the node itself. Such a client that dials an
 * outer address is served as if by the cluster IP, from all endpoints: externalTrafficPolicy is about packets from outside.
 */
export function policyFor(
  service: { readonly internalTrafficPolicy: TrafficPolicy; readonly externalTrafficPolicy: TrafficPolicy },
  frontend: FrontendKind,
  from: 'inside' | 'outside',
): TrafficPolicy {
  if (frontend === 'ClusterIP') return service.internalTrafficPolicy;
  return from === 'inside' ? 'Cluster' : service.externalTrafficPolicy;
}

/**
 * The endpoints that a node uses under a policy, in the rules of kube-proxy: ready ones, and with none of those, ones that
 * still serve while they terminate. `Local`: only the node's own, whatever hints say. `Cluster`: with hints, the near ones.
 */
export function endpointsAt<E extends Endpoint>(endpoints: readonly E[], policy: TrafficPolicy, place: Place): E[] {
  const here = policy === 'Local' ? endpoints.filter((e) => e.node === place.node) : endpoints;
  const ready = here.filter((e) => !e.ending);
  if (ready.length === 0) return here.filter((e) => e.ending);
  return policy === 'Local' ? ready : near(ready, place);
}

/** Hints hold only when every ready endpoint has one and one is for here: else a node or a zone could be left with none. */
function near<E extends Endpoint>(ready: E[], { node, zone }: Place): E[] {
  for (const { hints, mine } of [
    { hints: (e: E) => e.nodes, mine: node },
    { hints: (e: E) => e.zones, mine: zone },
  ]) {
    if (mine === '' || ready.some((e) => !hints(e)?.length)) continue;
    const chosen = ready.filter((e) => hints(e)?.includes(mine));
    if (chosen.length > 0) return chosen;
  }
  return ready;
}
