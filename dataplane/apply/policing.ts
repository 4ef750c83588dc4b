import type { Outcome } from '../../core/policy/cell.ts';
import { FLAT_NETWORK } from '../../api/names.ts';
import type { NodeConfig, ProfileItem } from '../../api/nodeconfig.ts';
import type { Conntrack } from '../../lib/netlink/conntrack.ts';
import { type Denial, denialOf } from '../plan/denials.ts';
import { type DeniedFlow, deniedFlows, type PolicyRules } from '../plan/denied-flows.ts';
import type { PodChains } from '../plan/pod.ts';
import { DenialLogs } from '../kernel/denial-logs.ts';
import type { NamespaceWriter } from '../kernel/namespace-writer.ts';
import { CLOSED, PolicyTable } from '../desired/policy-table.ts';
import { Revocations } from '../desired/revocations.ts';
import { RuleNumbers } from '../desired/rule-numbers.ts';

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
  /** Whether packets that are denied are logged to {@link denials}. */
  readonly log: boolean;
};

type Place = {
  readonly instance: NamespaceWriter;
  readonly conntrack: Conntrack;
  readonly table: PolicyTable;
  readonly revocations: Revocations;
  readonly netns: string | undefined;
  pods: readonly PolicedPod[];
};

/** Policies on this node: a table for each network that is here, and the cutting of connections that they no longer allow. */
export class Policing implements Disposable {
  readonly #config: NodeConfig;
  readonly #onRevoked: (flows: readonly RevokedFlow[]) => void;
  readonly #log: boolean;
  readonly #places = new Map<string, Place>();
  readonly #logs = new DenialLogs();
  readonly #rules = new RuleNumbers();
  /** Profile of each pod that is wired; undefined: none. */
  readonly #profiles = new Map<string, string | undefined>();
  /** Networks in which connections may stand that policies no longer allow. */
  readonly #changed = new Set<string>();

  constructor(config: NodeConfig, { onRevoked, log }: PolicingOptions) {
    this.#config = config;
    this.#onRevoked = onRevoked;
    this.#log = log;
  }

  /** @param netns path of the network's namespace; undefined for the flat network */
  open(network: string, instance: NamespaceWriter, conntrack: Conntrack, netns?: string): void {
    const set = (owner: string, nft: Parameters<ConstructorParameters<typeof Revocations>[0]>[1]): void =>
      instance.setNft(owner, nft);
    const table = new PolicyTable({
      register: network === FLAT_NETWORK ? 'ct mark' : 'meta mark',
      config: this.#config,
      rules: { of: (outcome) => this.#rules.of(outcome), log: this.#log },
      set,
      setElement: (name, key, value) => instance.setElement(name, key, value),
    });
    this.#logs.follow(network, false, undefined); // of an earlier network of that name
    const revocations = new Revocations(set);
    revocations.inherit(instance, Date.now());
    this.#places.set(network, { instance, conntrack, table, revocations, netns, pods: [] });
  }

  close(network: string): void {
    this.#logs.follow(network, false, undefined);
    this.#places.delete(network);
    this.#changed.delete(network);
  }

  /** Makes the network's table fit its pods and the configuration. Returns the chains of each pod. */
  plan(network: string, pods: readonly PolicedPod[]): Map<string, PodChains> {
    const place = this.#places.get(network);
    if (!place) return new Map();
    const profiles = new Map(pods.map((p) => [p.id, this.#profileOf(p)]));
    const inUse = new Set([...profiles.values()].filter((p) => p !== undefined));
    if (place.table.update(inUse)) this.#changed.add(network);
    this.#logs.follow(network, this.#log && inUse.size > 0, place.netns);
    place.pods = pods;
    return new Map(
      pods.map(({ id }) => {
        const profile = profiles.get(id);
        if (this.#profiles.has(id) && this.#profiles.get(id) !== profile) this.#changed.add(network);
        this.#profiles.set(id, profile);
        return [id, place.table.chainsOf(profile)];
      }),
    );
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
  cut(network: string, own: Iterable<string>): void {
    const place = this.#places.get(network);
    if (place) {
      const { conntrack, revocations, instance } = place;
      const rules = this.#rulesOf(place, own);
      const denied = rules.pods.size > 0 ? deniedFlows(conntrack.flows(), rules) : [];
      const live = denied.filter((d) => !d.over);
      const now = Date.now();
      revocations.prune(now, (flows) => deniedFlows(flows, rules).length > 0);
      for (const d of live) revocations.add(d, now);
      instance.apply('additions');
      conntrack.remove(denied.map((d) => d.flow));
      if (live.length > 0) this.#onRevoked(live.map((d) => ({ ...d, network })));
    }
    this.#changed.delete(network);
  }

  /** Logged packets that {@link denials} has left out so far, since too many came at once. */
  get denialsLeft(): number {
    return this.#logs.left;
  }

  /** Packets that policies have dropped since the last call: of each sender some a second, the rest is only counted. */
  denials(): Denial[] {
    return this.#logs.read().flatMap(({ network, packets }) => {
      const pods = this.#places.get(network)?.pods ?? [];
      return packets.flatMap((p) => denialOf(p, network, pods, (n) => this.#rules.ruleOf(n)) ?? []);
    });
  }

  [Symbol.dispose](): void {
    this.#logs[Symbol.dispose]();
  }

  /** Why the policies of some pods are closed, by network. */
  overBudget(): (readonly [string, string])[] {
    return [...this.#places].flatMap(([network, { table }]) =>
      [...table.overBudget].map((why) => [network, why] as const),
    );
  }

  ruleOf(number: number): Outcome | undefined {
    return this.#rules.ruleOf(number);
  }

  #rulesOf({ table, pods }: Place, own: Iterable<string>): PolicyRules {
    const policed = new Map<string, { pod: string; profile: ProfileItem }>();
    for (const { id, pod, link } of pods) {
      const profile = table.itemOf(this.#profiles.get(id));
      if (profile) for (const ip of link.ips) policed.set(ip, { pod, profile });
    }
    return { pods: policed, groupsOf: (ip) => table.groupsOf(ip), own: new Set(own) };
  }

  /** Which rules hold for a pod; undefined: none. */
  #profileOf({ pod, uid }: PolicedPod): string | undefined {
    const item = this.#config.pod.get(pod);
    if (item && (uid === '' || item.uid === uid)) return item.profile;
    const { policed } = this.#config.cluster.get('cluster') ?? {};
    const [namespace = ''] = pod.split('/');
    // Nobody has told of it yet, or it is gone from the API and still runs: where policies are, it is closed until then.
    return policed && (policed.others || policed.namespaces.includes(namespace)) ? CLOSED : undefined;
  }
}
