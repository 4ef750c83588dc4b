import { FLAT_NETWORK } from '../../api/names.ts';
import type { NodeConfig, ProfileItem } from '../../api/nodeconfig.ts';
import type { Conntrack } from '../../lib/netlink/conntrack.ts';
import { type Denial, denialOf } from '../plan/denials.ts';
import { type DeniedFlow, deniedFlows, type PolicyRules } from '../plan/denied-flows.ts';
import type { PodChains } from '../plan/pod.ts';
import type { DenialLogs } from '../kernel/denial-logs.ts';
import type { NamespaceWriter } from '../kernel/namespace-writer.ts';
import { CLOSED, PolicyTable, UNPLANNED } from '../desired/policy-table.ts';
import { Revocations } from '../desired/revocations.ts';
import type { RuleNumbers } from '../desired/rule-numbers.ts';
import type { Staged } from '../kernel/staged.ts';

/** What policies need to know of a pod that is wired. */
export type PolicedPod = {
  readonly id: string;
  /** "namespace/name" */
  readonly pod: string;
  readonly uid: string;
  readonly link: { readonly ips: readonly string[] };
};

/** A connection that a change of policies has cut. */
export type RevokedFlow = DeniedFlow & { readonly network: string };

export type PolicingOptions = {
  readonly onRevoked: (flows: readonly RevokedFlow[]) => void;
  /** Where packets that are denied are logged; undefined: they are not. */
  readonly logs: DenialLogs | undefined;
  readonly rules: RuleNumbers;
};

/** A network's place, as policies need it. */
type PolicedPlace = {
  readonly key: string;
  readonly writer: NamespaceWriter;
  readonly conntrack: Conntrack;
  /** Path of the network's namespace; undefined for the flat network. */
  readonly netns: string | undefined;
};

type Place = PolicedPlace & {
  readonly revocations: Revocations;
  policies: PolicyTable;
  /** The owners of chains and counters that the policies have in the namespace. */
  readonly owners: Set<string>;
  /** Updates and cuts, one at a time. */
  turn: Promise<unknown>;
  /** The update that is being made. */
  update: { readonly inUse: ReadonlySet<string>; readonly staged: Staged } | undefined;
  pods: readonly PolicedPod[];
};

/** What an update needs of its network. */
export type Advance = {
  /** Pods that are wired, and those that are about to be. */
  readonly pods: () => readonly PolicedPod[];
  /** Wishes all pods anew, with the chains that {@link Policing.plan} says. */
  readonly wish: () => void;
  readonly breath: () => Promise<void>;
};

/** Policies on this node: a table for each network that is here, and the cutting of connections that they no longer allow. */
export class Policing {
  readonly #config: NodeConfig;
  readonly #onRevoked: (flows: readonly RevokedFlow[]) => void;
  readonly #logs: DenialLogs | undefined;
  readonly #places = new Map<string, Place>();
  readonly #rules: RuleNumbers;
  /** Profile of each pod that is wired; undefined: none. */
  readonly #profiles = new Map<string, string | undefined>();
  /** Networks in which connections may stand that policies no longer allow. */
  readonly #changed = new Set<string>();

  constructor(config: NodeConfig, { onRevoked, logs, rules }: PolicingOptions) {
    this.#config = config;
    this.#onRevoked = onRevoked;
    this.#logs = logs;
    this.#rules = rules;
  }

  open(from: PolicedPlace): void {
    const { key, writer } = from;
    this.#logs?.follow(key, false, undefined); // of an earlier network of that name
    const revocations = new Revocations((owner, nft) => writer.setNft(owner, nft));
    revocations.inherit(writer.table, Date.now());
    const owners = new Set<string>();
    const place: Place = {
      ...{ ...from, revocations, owners, pods: [], update: undefined, turn: Promise.resolve() },
      policies: this.#newTable(from, owners, () => place),
    };
    writer.table.keepElements(() => place.policies.elements());
    this.#places.set(key, place);
  }

  #newTable({ key, writer }: PolicedPlace, owners: Set<string>, place: () => Place): PolicyTable {
    return new PolicyTable({
      register: key === FLAT_NETWORK ? 'ct mark' : 'meta mark',
      config: this.#config,
      rules: { of: (outcome) => this.#rules.of(outcome), log: this.#logs !== undefined },
      set: (owner, nft) => {
        if (nft) owners.add(owner);
        else owners.delete(owner);
        writer.setNft(owner, nft);
      },
      // Without an update the table is still to be written, and then with all that stands.
      setElement: (set, at, value, before) => place().update?.staged.set(set, at, value, before),
    });
  }

  close(network: string): void {
    this.#logs?.follow(network, false, undefined);
    this.#places.delete(network);
    this.#changed.delete(network);
  }

  /**
   * The chains of each pod, as far as its policies stand; {@link advance} makes them. A pod whose policies do not stand is closed. Where
   * the table is still to be written, all of it is planned here, and written as a whole.
   */
  plan(network: string, pods: readonly PolicedPod[]): Map<string, PodChains> {
    const place = this.#places.get(network);
    if (!place) return new Map();
    const { policies } = place;
    place.pods = pods;
    const wanted = new Map(pods.map((p) => [p.id, this.#profileOf(p)]));
    if (place.writer.table.writes === 0 && !place.update) {
      if (policies.update(inUseOf(wanted))) this.#changed.add(network);
      for (const [id, profile] of wanted) this.#adopt(network, id, profile);
    }
    for (const [id, profile] of wanted)
      if (!this.#profiles.has(id) && (profile === undefined || policies.has(profile)))
        this.#adopt(network, id, profile);
    this.#logs?.follow(
      network,
      [...wanted.values()].some((p) => p !== undefined),
      place.netns,
    );
    return new Map(
      pods.map(({ id }) => [id, this.#profiles.has(id) ? policies.chainsOf(this.#profiles.get(id)) : UNPLANNED]),
    );
  }

  #adopt(network: string, id: string, profile: string | undefined): void {
    if (this.#profiles.has(id) && this.#profiles.get(id) !== profile) this.#changed.add(network);
    this.#profiles.set(id, profile);
  }

  /** Whether the policies of a pod stand, as the controller says them now. */
  stands(network: string, pod: PolicedPod): boolean {
    const place = this.#places.get(network);
    const profile = this.#profileOf(pod);
    if (!place || profile === undefined || place.writer.table.writes === 0) return true;
    return place.policies.isCurrent(profile) && place.update?.inUse.has(profile) !== false;
  }

  /**
   * Makes the network's table fit its pods and the configuration, in steps between which others have their turn: one tenant's policies
   * may be many thousands of elements.
   */
  advance(network: string, options: Advance): Promise<void> {
    return this.#inTurn(network, (place) => this.#advance(network, place, options));
  }

  #inTurn(network: string, work: (place: Place) => Promise<void> | void): Promise<void> {
    const place = this.#places.get(network);
    if (!place) return Promise.resolve();
    const turn = place.turn.then(() => (this.#places.get(network) === place ? work(place) : undefined));
    place.turn = turn.catch(() => undefined);
    return turn;
  }

  async #advance(network: string, place: Place, { pods, wish, breath }: Advance): Promise<void> {
    const { writer, policies } = place;
    const { table } = writer;
    if (table.writes === 0) return; // planned and written as a whole
    const wanted = new Map(pods().map((p) => [p.id, this.#profileOf(p)]));
    const staged = table.stage();
    place.update = { inUse: inUseOf(wanted), staged };
    let written = table.writes;
    try {
      const steps = policies.steps(place.update.inUse);
      for (let next = steps.next(); ; next = steps.next()) {
        if (next.done) {
          if (next.value) this.#changed.add(network);
          break;
        }
        const lost = written !== table.writes;
        if (next.value === 'switch') {
          for (const { id } of pods()) if (wanted.has(id)) this.#adopt(network, id, wanted.get(id));
          wish();
          writer.write(staged.take(), { whole: lost });
          written = table.writes;
        } else if (next.value === 'write' && !lost) writer.write(staged.take());
        await breath();
        if (this.#places.get(network) !== place) return;
      }
      // What went between the switch and now may have been written with the whole table.
      if (written !== table.writes) writer.write([], { whole: true });
    } catch (error) {
      this.#startAgain(network, place, wish);
      throw error;
    } finally {
      place.update = undefined;
    }
  }

  /** The table may be half-made: it is planned anew, and the next pass writes it as a whole. */
  #startAgain(network: string, place: Place, wish: () => void): void {
    if (this.#places.get(network) !== place) return;
    place.update = undefined;
    for (const owner of place.owners) place.writer.setNft(owner, undefined);
    place.owners.clear();
    place.policies = this.#newTable(place, place.owners, () => place);
    place.writer.table.forget();
    wish();
  }

  forget(id: string): void {
    this.#profiles.delete(id);
  }

  /** Networks whose connections have to be looked at, since something was tightened. */
  get changed(): ReadonlySet<string> {
    return this.#changed;
  }

  /**
   * Cuts the connections of a network that its policies no longer allow. Rules first, then the memory of what is cut, then the cut:
   * at no moment can a connection slip back in.
   *
   * @param own addresses of this node itself, as that network sees it
   */
  async cut(network: string, own: Iterable<string>): Promise<void> {
    await this.#inTurn(network, (place) => {
      const { conntrack, revocations, writer } = place;
      const rules = this.#rulesOf(place, own);
      const denied = rules.pods.size > 0 ? deniedFlows(conntrack.flows(), rules) : [];
      const live = denied.filter((d) => !d.over);
      const now = Date.now();
      revocations.prune(now, (flows) => deniedFlows(flows, rules).length > 0);
      for (const d of live) revocations.add(d, now);
      writer.apply('additions');
      conntrack.remove(denied.map((d) => d.flow));
      if (live.length > 0) this.#onRevoked(live.map((d) => ({ ...d, network })));
      this.#changed.delete(network);
    });
  }

  /** Packets that policies have dropped since the last call: of each sender some a second, the rest is only counted. */
  denials(): Denial[] {
    return (this.#logs?.read() ?? []).flatMap(({ network, packets }) => {
      const pods = this.#places.get(network)?.pods ?? [];
      return packets.flatMap((p) => denialOf(p, network, pods, (n) => this.#rules.ruleOf(n)) ?? []);
    });
  }

  /** Why the policies of some pods are closed, by network. */
  overBudget(): (readonly [string, string])[] {
    return [...this.#places].flatMap(([network, { policies }]) =>
      [...policies.overBudget].map((why) => [network, why] as const),
    );
  }

  #rulesOf({ policies, pods }: Place, own: Iterable<string>): PolicyRules {
    const policed = new Map<string, { pod: string; profile: ProfileItem }>();
    for (const { id, pod, link } of pods) {
      const profile = policies.itemOf(this.#profiles.get(id));
      if (profile) for (const ip of link.ips) policed.set(ip, { pod, profile });
    }
    return { pods: policed, groupsOf: (ip) => policies.groupsOf(ip), own: new Set(own) };
  }

  /** Which rules hold for a pod; undefined: none. */
  #profileOf({ pod, uid }: PolicedPod): string | undefined {
    const item = this.#config.pod.get(pod);
    if (item && (uid === '' || item.uid === uid)) return item.profile;
    const { policed } = this.#config.cluster.get('cluster') ?? {};
    const [namespace = ''] = pod.split('/');
    // The controller has not sent it yet, or it is gone from the API and still runs: where policies are, it is closed until then.
    return policed && (policed.others || policed.namespaces.includes(namespace)) ? CLOSED : undefined;
  }
}

const inUseOf = (wanted: ReadonlyMap<string, string | undefined>): Set<string> =>
  new Set([...wanted.values()].filter((p) => p !== undefined));
