import { FLAT_NETWORK } from '../../api/names.ts';
import type { NodeItem } from '../../api/nodeconfig.ts';
import type { Conntrack } from '../../lib/netlink/conntrack.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import type { ConnectionShares } from '../plan/shares.ts';
import { nodeSources, type SourceOwners } from '../plan/source-owners.ts';
import type { TrackedTable } from './connection-shares.ts';
import type { NamespaceWriter } from './namespace-writer.ts';

type Place = { readonly writer: NamespaceWriter; readonly conntrack: Conntrack };

/** The connection tracking tables of a node, the root's first, with the shares in them. */
export function trackedTables(
  { pod, network, root: all }: ConnectionShares,
  o: {
    readonly root: Place;
    readonly held: ReadonlyMap<string, Place>;
    readonly owners: () => SourceOwners;
    readonly nodes: ReadonlyMap<string, NodeItem>;
  },
): TrackedTable[] {
  const owners = once(o.owners);
  const nodes = once(() => nodeSources(o.nodes.values()));
  const root: TrackedTable = {
    network: FLAT_NETWORK,
    conntrack: o.root.conntrack,
    limits: { source: pod, owner: network, all },
    ownerOf: (source) => owners()(source),
    refuse: (elements) => refuse(o.root.writer, elements),
  };
  const instances = [...o.held].map(
    ([key, { writer, conntrack }]): TrackedTable => ({
      network: key,
      conntrack,
      limits: { source: pod, owner: network, all: network },
      // In its own table every address stands for itself, also one from outside.
      ownerOf: (source) => (nodes().has(source) ? undefined : source),
      refuse: (elements) => {
        if (o.held.get(key)?.writer === writer) refuse(writer, elements); // not gone meanwhile
      },
    }),
  );
  return [root, ...instances];
}

function refuse(writer: NamespaceWriter, elements: readonly NftObject[]): void {
  writer.setNft('over', elements);
  writer.apply('additions');
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
