import { Command, InvalidArgumentError, Option } from 'commander';
import { GROUP, VERSION } from '../../api/names.ts';
import { viewOf } from '../../core/view/view.ts';
import { type Topology, toDot, toMermaid, topologyOf } from '../../core/topology/topology.ts';
import { EXIT } from '../terminal/exit-codes.ts';
import { format, paint, print, printData, tableText } from '../terminal/output.ts';
import { chooseTarget, type TargetFlags, targetOptions } from '../target/choose.ts';
import { loadState } from './state.ts';
import type { ClusterTarget } from '../target/target.ts';

type Flags = TargetFlags & { readonly output: string; readonly graph?: string | true; readonly namespace?: string };
const GRAPHS = { mermaid: toMermaid, dot: toDot } as const;
const isGraph = (text: string): text is keyof typeof GRAPHS => Object.hasOwn(GRAPHS, text);

/** `bulkhead networks`: what there is, how full it is, and what is connected with what. */
export function networksCommand(exit: (code: number) => void): Command {
  return targetOptions(new Command('networks'))
    .description('show networks, their addresses and nodes, and the routers that connect them')
    .option(
      '-n, --namespace <names>',
      'only networks of these namespaces, comma-separated, and the networks connected with them',
    )
    .addOption(
      new Option('--graph [format]', 'draw the networks as mermaid or dot')
        .preset('mermaid')
        .argParser((text: string) => {
          if (isGraph(text)) return text;
          throw new InvalidArgumentError('write mermaid or dot.');
        }),
    )
    .addOption(new Option('-o, --output <format>', 'text, json or yaml').default('text'))
    .action(async ({ output, graph, namespace, ...flags }: Flags) => {
      const shape = format(output);
      await using target = chooseTarget(flags);
      const topology = only(topologyOf(viewOf(await loadState(target))), namespace?.split(','));
      if (typeof graph === 'string' && isGraph(graph)) print(GRAPHS[graph](topology));
      else if (shape !== 'text') printData(shape, topology);
      else await show(target, topology);
      exit(EXIT.yes);
    });
}

async function show(target: ClusterTarget, { networks, routers, links }: Topology): Promise<void> {
  const status = await statuses(target);
  const mark = (text: string): string => paint(text === 'True' ? 'green' : text === '' ? 'dim' : 'red', text || '–');
  print(
    tableText([
      ['NETWORK', 'VNI', 'SUBNETS', 'EGRESS', 'READY', 'PODS', 'USED', 'FREE', 'NODES', 'NAMESPACES'],
      ...networks.map((n) => {
        const s = status.get(n.name);
        return [
          n.name,
          String(n.vni ?? '–'),
          n.subnets.join(',') || 'pod CIDR',
          n.egress,
          mark(s?.ready ?? (n.vni === 1 ? 'True' : '')),
          String(n.pods),
          s?.used ?? '–',
          s?.free ?? '–',
          n.nodes.join(',') || '–',
          n.namespaces.join(',') || '–',
        ];
      }),
    ]),
  );
  if (routers.length > 0) {
    print('');
    print(
      tableText([
        ['ROUTER', 'TYPE', 'OPEN', 'MEMBERS', 'WAITS FOR'],
        ...routers.map((r) => [
          r.name,
          r.type,
          String(r.open),
          r.members.join(',') || '–',
          r.waiting.length > 0 ? paint('yellow', r.waiting.join('; ')) : '–',
        ]),
      ]),
    );
  }
  if (links.length > 0) {
    print('');
    print(
      tableText([
        ['CONNECTED', 'WITH', 'WHAT', 'BY'],
        ...links.map(({ networks: [a, b], what, by }) => [a, b, what, by.join('; ')]),
      ]),
    );
  }
}

/** A part of it: networks of some namespaces, and their neighbours. */
function only(all: Topology, namespaces: readonly string[] | undefined): Topology {
  if (!namespaces) return all;
  const mine = (name: string): boolean => namespaces.includes(name.split('/')[0] ?? '');
  const links = all.links.filter((l) => l.networks.some(mine));
  const near = new Set(links.flatMap((l) => l.networks));
  return {
    networks: all.networks.filter((n) => mine(n.name) || near.has(n.name)),
    routers: all.routers.filter((r) => mine(r.name)),
    links,
  };
}

type Status = { readonly ready: string; readonly used: string; readonly free: string };

async function statuses(target: ClusterTarget): Promise<Map<string, Status>> {
  const { items } = await target.list({ group: GROUP, version: VERSION, plural: 'virtualnetworks' });
  return new Map(
    items.map((o) => {
      const {
        addressesUsed,
        addressesFree,
        conditions = [],
      } = (o['status'] ?? {}) as {
        addressesUsed?: number;
        addressesFree?: number;
        conditions?: { type: string; status: string }[];
      };
      const ready = conditions.find((c) => c.type === 'Ready')?.status ?? '';
      const text = (n: number | undefined): string => (n === undefined ? '–' : n >= 2 ** 31 - 1 ? 'plenty' : String(n));
      return [
        `${o.metadata.namespace}/${o.metadata.name}`,
        { ready, used: text(addressesUsed), free: text(addressesFree) },
      ];
    }),
  );
}
