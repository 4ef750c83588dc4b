import { FLAT_NETWORK } from '../api/names.ts';
import type { NodeItem } from '../api/nodeconfig.ts';
import { NO_POLICY, PolicyTable } from '../dataplane/desired/policy-table.ts';
import { RuleNumbers } from '../dataplane/desired/rule-numbers.ts';
import { desiredBy } from '../dataplane/desired/desired.ts';
import { storeOf } from '../dataplane/follow/store-of.ts';
import type { Fragment } from '../dataplane/plan/fragment.ts';
import { STATES } from '../dataplane/plan/golden/named.ts';
import type { NodeState } from '../dataplane/plan/golden/states.ts';
import { planHostPorts } from '../dataplane/plan/host-ports.ts';
import { netnsName } from '../dataplane/plan/names.ts';
import { planFlatPod, planPod, type PodChains } from '../dataplane/plan/pod.ts';
import { connectionShares } from '../dataplane/plan/shares.ts';
import type { NftObject } from '../lib/nft/program.ts';
import { blocksOf, differenceText, fullText, type TextBlock } from './golden-text.ts';

/** The rules and routes of each named state, as text to read and to review. */
export function goldenFiles(): { readonly file: string; readonly text: string }[] {
  const texts = new Map(Object.entries(STATES).map(([name, { state }]) => [name, blocksOfState(state)]));
  return Object.entries(STATES).map(([name, { about, like }]) => {
    const blocks = texts.get(name) ?? [];
    const head = `# ${about}\n# Written by 'make generate'. `;
    const text =
      like === undefined
        ? `${head}Complete.\n\n${fullText(blocks)}`
        : `${head}As in ${like}.nft, but:\n\n${differenceText(texts.get(like) ?? [], blocks)}`;
    return { file: `${name}.nft`, text };
  });
}

const MTU = 1450;
const DEFAULT_CONNTRACK_MAX = 262_144;

/** What stands in each namespace of node n1, the root first. */
function blocksOfState(state: NodeState): TextBlock[] {
  const { config, blocks } = state;
  const self = config.node.get('n1');
  if (!self) throw new Error('a state without node n1');
  const { wanted, local } = desiredBy(storeOf(config), self.name);
  wanted.limits = {
    shares: connectionShares(DEFAULT_CONNTRACK_MAX, state.connectionsPerPod),
    onLink: state.onLink ?? [],
  };
  local.setHeld(state.held ?? []);
  const networks = [...config.network.values()];
  const root = wanted.root(
    self,
    MTU,
    networks.map((network) => ({ network, mtu: MTU })),
    blocks,
  );
  const rules = new RuleNumbers();
  return [
    ...blocksOf('root', [
      ...[...root.values()].map((w) => w.plan()),
      ...podFragments(state, FLAT_NETWORK, self, rules),
      ...state.pods.flatMap(({ link }) => (link.ports ? [planHostPorts(link.ips, link.ports)] : [])),
    ]),
    ...networks.flatMap((network) =>
      blocksOf(`namespace ${netnsName(network.vni)}`, [
        ...[...wanted.instance(network, self, MTU, blocks).values()].map((w) => w.plan()),
        ...podFragments(state, network.key, self, rules),
      ]),
    ),
  ];
}

/** The pods of one network, and the policies that hold for them. */
function podFragments({ config, pods }: NodeState, network: string, self: NodeItem, rules: RuleNumbers): Fragment[] {
  const owners = new Map<string, readonly NftObject[]>();
  const elements = new Map<string, NftObject>();
  const table = new PolicyTable({
    register: network === FLAT_NETWORK ? 'ct mark' : 'meta mark',
    config,
    rules: { of: (outcome) => rules.of(outcome), log: true },
    set: (owner, nft) => (nft ? owners.set(owner, nft) : owners.delete(owner)),
    setElement: (set, key, value) => {
      if (value === undefined) elements.delete(`${set} ${key}`);
      else elements.set(`${set} ${key}`, { kind: 'element', set, key, value });
    },
  });
  const here = pods.filter((p) => p.network === network);
  const profileOf = (pod: string): string | undefined => config.pod.get(pod)?.profile;
  table.update(new Set(here.flatMap(({ pod }) => profileOf(pod) ?? [])));
  const plan = (chains: PodChains, link: (typeof here)[number]['link']): Fragment =>
    network === FLAT_NETWORK ? planFlatPod(link, self, chains) : planPod(link, chains);
  return [
    ...here.map(({ pod, link }) => plan(table.chainsOf(profileOf(pod)) ?? NO_POLICY, link)),
    { nft: [...[...owners.values()].flat(), ...elements.values()] },
  ];
}
