import { FLAT_NETWORK } from '../../api/names.ts';
import { networksOf, type View } from '../view/view.ts';
import { combine } from '../routers/connect.ts';
import { describePorts, isEmpty } from '../cluster/ports.ts';

/** Networks and what connects them, for people. Sorted. */
export type Topology = {
  readonly networks: readonly {
    readonly name: string;
    readonly vni: number | undefined;
    readonly subnets: readonly string[];
    readonly egress: string;
    readonly pods: number;
    readonly nodes: readonly string[];
    /** Namespaces that have pods on it. */
    readonly namespaces: readonly string[];
  }[];
  readonly routers: readonly {
    readonly name: string;
    readonly type: string;
    readonly members: readonly string[];
    readonly open: number;
    /** What is not open, or missing, and why. */
    readonly waiting: readonly string[];
  }[];
  /** Each pair once. */
  readonly links: readonly {
    readonly networks: readonly [string, string];
    readonly what: string;
    readonly by: readonly string[];
  }[];
};

export function topologyOf(view: View): Topology {
  const users = new Map<string, { pods: number; nodes: Set<string>; namespaces: Set<string> }>();
  for (const [key, { namespace, node }] of view.state.pods) {
    if (!view.plans.has(key)) continue;
    for (const network of networksOf(view, view.state.pods.get(key) ?? { namespace, name: '' })) {
      const use = users.get(network) ?? { pods: 0, nodes: new Set(), namespaces: new Set() };
      use.pods++;
      if (node !== '') use.nodes.add(node);
      use.namespaces.add(namespace);
      users.set(network, use);
    }
  }
  const describe = (name: string) => {
    const use = users.get(name);
    const network = view.state.networks.get(name);
    return {
      name,
      vni: name === FLAT_NETWORK ? 1 : network?.vni,
      subnets: network?.spec?.subnets ?? [],
      egress: name === FLAT_NETWORK ? 'NAT' : (network?.spec?.egress.mode ?? ''),
      pods: use?.pods ?? 0,
      nodes: [...(use?.nodes ?? [])].sort(),
      namespaces: [...(use?.namespaces ?? [])].sort(),
    };
  };
  return {
    networks: [FLAT_NETWORK, ...[...view.state.networks.keys()].sort()].map(describe),
    routers: [...view.routers]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, { members, pairs, missing }]) => ({
        name,
        type: view.state.routers.get(name)?.spec?.type ?? '',
        members,
        open: pairs.filter((p) => p.state === 'Open').length,
        waiting: [...new Set([...missing, ...pairs.filter((p) => p.state !== 'Open').map((p) => p.message)])],
      })),
    links: linksOf(view),
  };
}

function linksOf(view: View): Topology['links'] {
  const links: Topology['links'][number][] = [];
  for (const [a, row] of view.connections)
    for (const [b, grants] of row) {
      if (a > b) continue; // the other direction says the same
      const namespaces = [...new Set(grants.flatMap((g) => [...(g.namespaces ?? [])]))].sort();
      const { pods, services } = combine(grants.map((g) => ({ pods: g.pods, services: g.services, by: g.by })));
      const what = isEmpty(pods) ? `Services, ${describePorts(services)}` : describePorts(pods);
      links.push({
        networks: [a, b],
        what: namespaces.length > 0 ? `${what}; pods of ${namespaces.join(', ')}` : what,
        by: [...new Set(grants.map((g) => g.by))].sort(),
      });
    }
  return links.sort((x, y) => (x.networks.join() < y.networks.join() ? -1 : 1));
}

/** Names as a drawing program takes them: letters and digits, unique. */
const idOf = (name: string): string => `n_${name.replaceAll(/[^a-zA-Z0-9]/g, (c) => `_${c.charCodeAt(0)}_`)}`;
const labelOf = ({ name, subnets, pods }: Topology['networks'][number], newline: string): string =>
  [name, ...subnets, `${pods} pod(s)`].join(newline);

/** As Mermaid, for a README or a merge request. */
export function toMermaid({ networks, links }: Topology): string {
  return [
    'graph LR',
    ...networks.map((n) => `  ${idOf(n.name)}["${labelOf(n, '<br/>')}"]`),
    ...links.map(({ networks: [a, b], what, by }) => `  ${idOf(a)} <-->|"${what} (${by.join('; ')})"| ${idOf(b)}`),
  ].join('\n');
}

/** As DOT, for Graphviz. */
export function toDot({ networks, links }: Topology): string {
  return [
    'graph networks {',
    '  node [shape=box];',
    ...networks.map((n) => `  ${idOf(n.name)} [label="${labelOf(n, '\\n')}"];`),
    ...links.map(
      ({ networks: [a, b], what, by }) => `  ${idOf(a)} -- ${idOf(b)} [label="${what}\\n${by.join('\\n')}"];`,
    ),
    '}',
  ].join('\n');
}
