import type { Logger } from 'pino';
import type { KubeClient } from '../lib/kube/client.ts';
import { type Breath, breathing } from '../lib/reconcile/breathing.ts';
import type { Dataplane } from './apply/dataplane.ts';
import type { RevokedFlow } from './apply/policing.ts';
import type { Attachments } from './attach/attachments.ts';
import type { NodeAddresses } from './attach/node-addresses.ts';
import { multusIsThere, writeConflist } from './cniserver/conflist.ts';
import { selfOf } from './desired/desired.ts';
import type { EgressKeeper } from './egress/keeper.ts';
import type { ConfigStore } from './follow/config-store.ts';
import type { ControllerLink } from './follow/controller-link.ts';
import { saveConfig } from './follow/saved-config.ts';
import type { LoopName } from './loops.ts';
import type { NodeState } from './node-state.ts';
import { renumbered } from './probe/renumbered.ts';
import { reportOf } from './report.ts';
import type { AgentSettings } from './settings.ts';
import type { AgentStatus } from './status.ts';

/** What the loops of the agent work on. */
export type AgentWork = {
  readonly settings: AgentSettings;
  readonly log: Logger;
  readonly client: KubeClient;
  readonly store: ConfigStore;
  readonly status: AgentStatus;
  readonly node: NodeState;
  readonly dataplane: Dataplane;
  readonly keeper: EgressKeeper;
  readonly link: ControllerLink;
  /** Undefined until the phase `open`. */
  pods: { readonly attachments: Attachments; readonly addresses: NodeAddresses } | undefined;
};

/** So long a pass may hold up ADD: then the runtime's calls have their turn. */
const MOST_MS_AT_ONCE = 10;

/** The work of each loop; see loops.ts for when each runs. */
export function workOf(
  work: AgentWork,
  request: (loop: LoopName) => void,
): Readonly<Record<LoopName, () => Promise<void> | void>> {
  const breath = breathing(MOST_MS_AT_ONCE, { urgent: () => work.pods?.attachments.urgent === true });
  return {
    save: () => save(work, breath),
    apply: () => apply(work, request, breath),
    collect: async () => {
      const { pods, dataplane, status, log } = work;
      const { authoritative } = status;
      pods?.attachments.cleanUp({ authoritative });
      for (const [network, error] of await dataplane.networks.set({ authoritative }, breath))
        log.error({ network, err: error.message }, 'clean-up');
    },
    report: () => report(work),
    survey: () => survey(work, request),
    egress: () => keepEgress(work, request),
    audit: () => {
      const { settings, dataplane } = work;
      // Another program that tidied up the folder took the node's network away with it.
      ignored(() => writeConflist(settings.cniConfDir, settings.socket));
      if (dataplane.audit.next().drifted) request('apply');
    },
    denials: () => {
      for (const d of work.dataplane.policing.denials()) work.log.info(d, 'dropped by policy');
    },
    balance: () => work.dataplane.balance(),
  };
}

/** Puts the configuration on disk, if it has changed. One at a time. */
export async function save({ settings, store, status, node }: AgentWork, breath?: Breath): Promise<void> {
  if (!status.unsaved) return;
  status.unsaved = false; // what comes meanwhile is saved next time
  try {
    await saveConfig(`${settings.stateDir}/nodeconfig.json`, store.config, breath);
    node.notSaved = undefined;
  } catch (error) {
    node.notSaved = error as Error;
    status.unsaved = true;
  }
}

async function apply(
  { pods, dataplane, status, log }: AgentWork,
  request: (loop: LoopName) => void,
  breath: () => Promise<void>,
): Promise<void> {
  if (status.authoritative) pods?.addresses.adopt();
  pods?.addresses.prepare();
  const now = status.received;
  const faults = await dataplane.networks.set({ authoritative: false }, breath);
  if (status.authoritative) request('collect');
  status.realised = now;
  status.written = true;
  if (status.authoritative && status.unsaved) request('save');
  const { desired, policing } = dataplane;
  if (status.note({ faults, closed: desired.local.closed(), over: policing.overBudget() }, log)) request('report');
  if (faults.size > 0) throw new Error(`${faults.size} network(s) could not be realised`);
}

function report({ settings, status, node, pods, dataplane, link }: AgentWork): Promise<void> {
  return link.report(
    reportOf({
      node: settings.node,
      revision: status.realised,
      addresses: pods?.addresses,
      attachments: pods?.attachments,
      faults: status.problems((address) => dataplane.egress.networksBy(address)),
      state: node,
      multus: multusIsThere(settings.cniConfDir),
      host: status.host,
    }),
  );
}

/** Looks at what others may have changed on this node. */
function survey(work: AgentWork, request: (loop: LoopName) => void): void {
  const { dataplane, log, node, status, pods, client, link } = work;
  if (!dataplane.audit.isGuarded()) {
    if (status.written) log.warn("another program removed this node's nftables table; the agent puts it back");
    dataplane.audit.root();
    request('apply');
  }
  const self = selfOf(dataplane.desired);
  const moved = self ? renumbered(self, dataplane.node.underlayDev(), pods?.attachments.outside ?? []) : [];
  if (JSON.stringify(moved) !== JSON.stringify(node.renumbered)) {
    node.renumbered = moved;
    request('report');
  }
  const now = dataplane.node.survey();
  if (now === status.host) return;
  const { addresses: before } = status.host;
  status.host = now;
  if (before.some((a) => !now.addresses.includes(a))) {
    // Connections from an address that is gone hear nothing any more, and would not say so for a minute.
    client.dropConnections();
    link.dropConnections();
  }
  request('apply');
  request('report');
}

/** Egress addresses are kept as long as the controller hears of this node, and no longer. */
async function keepEgress(work: AgentWork, request: (loop: LoopName) => void): Promise<void> {
  const { dataplane, keeper, status } = work;
  const before = status.conflicts.size;
  // What was said meanwhile counts.
  const wanted = (): string[] => (status.authoritative ? dataplane.egress.wanted() : []);
  try {
    if (dataplane.egress.wanted().length > 0) await report(work);
    await keeper.renew(wanted, wanted().length > 0 ? dataplane.node.underlayDev() : undefined);
  } finally {
    status.conflicts = keeper.conflicts;
    if (dataplane.egress.setHeld(keeper.held)) request('apply');
    if (before !== status.conflicts.size) request('report');
  }
}

function ignored(work: () => void): Error | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

/** What is kept of a connection that a change of policies has cut. */
export const revokedRecord = (f: RevokedFlow, revision: number): Record<string, unknown> => ({
  network: f.network,
  protocol: f.protocol,
  source: f.source,
  sourcePort: f.sourcePort,
  destination: f.destination,
  port: f.port,
  pod: f.pod,
  direction: f.direction,
  tier: f.by?.tier,
  policy: f.by?.policy,
  rule: f.by?.rule,
  revision,
});
