import { RESOURCES, type ResourceName } from '../../api/kinds/resources.ts';
import type { NodeReport } from '../../api/report.ts';
import { attachedBy } from '../../core/reports/attached.ts';
import { withReport } from '../../core/nodes/reported.ts';
import type { ClusterState, Settings } from '../../core/cluster/state.ts';
import type { Refusal } from '../../core/reports/believe.ts';
import { blockOf, emptyObjects, READERS, stateFromObjects, type StoredBlock } from '../../core/view/from-objects.ts';
import { type View, viewOf } from '../../core/view/view.ts';
import type { KubeClient, KubeObject, Resource } from '../../lib/kube/client.ts';
import { isKube } from '../../lib/kube/error.ts';
import { systemClock } from '../../lib/reconcile/clock.ts';
import { Reflector, type ReflectorStats } from '../../lib/kube/reflector.ts';
import { AgentReports } from './agent-reports.ts';

const KINDS = Object.keys(RESOURCES) as ResourceName[];

export type ClusterSourceOptions = {
  readonly client: KubeClient;
  readonly podCIDRs: readonly string[];
  readonly serviceCIDRs: readonly string[];
  readonly onChange: () => void;
  /** Gets claims of agents that the controller did not believe; once in a while for each node and reason. */
  readonly onRefused: (refusal: Refusal) => void;
  readonly onTrouble: (trouble: { readonly what: string; readonly error: unknown; readonly retryInMs: number }) => void;
};

/** Live copy of all that the controller looks at: API objects by reflector, and what agents reported since. */
export class ClusterSource implements AsyncDisposable {
  readonly #options: ClusterSourceOptions;
  readonly #reflectors = new Map<string, Reflector<unknown>>();
  /** All kinds that there are, as far as they have been read. */
  readonly #objects = emptyObjects();
  readonly #trouble = new Map<string, unknown>();
  #view: View | undefined;
  #later: NodeJS.Timeout | undefined;
  readonly #agents: AgentReports;

  constructor(options: ClusterSourceOptions) {
    this.#options = options;
    this.#agents = new AgentReports(options.onRefused);
    for (const name of KINDS) if (!RESOURCES[name].optional) this.#follow(name);
  }

  /** Starts all reflectors; resolves when each has its first list. */
  async start(): Promise<void> {
    const missing: ResourceName[] = [];
    for (const name of KINDS) {
      if (!RESOURCES[name].optional || (name === 'serviceCIDRs' && this.#options.serviceCIDRs.length > 0)) continue;
      if (await this.#serves(RESOURCES[name])) this.#follow(name);
      else missing.push(name);
    }
    if (missing.length > 0) this.#lookLater(missing);
    for (const r of this.#reflectors.values()) r.start();
    await Promise.all([...this.#reflectors.values()].map((r) => r.synced()));
  }

  /** AddressBlocks as they are in the API, by their names. */
  get storedBlocks(): ReadonlyMap<string, StoredBlock> {
    return this.#objects.addressBlocks;
  }

  /** Kinds whose first list has not come yet, each with what the API server said last, and a remedy. */
  waitingFor(): string[] {
    const waiting = [...this.#reflectors].filter(([, r]) => !r.hasSynced).map(([plural]) => plural);
    return (waiting.length > 0 ? waiting : ['discovery']).map((plural) => {
      const error = this.#trouble.get(plural);
      return error === undefined ? plural : `${plural} (${describeTrouble(error)})`;
    });
  }

  /** Figures of each reflector, by plural of its kind. */
  get stats(): ReadonlyMap<string, Readonly<ReflectorStats>> {
    return new Map([...this.#reflectors].map(([plural, r]) => [plural, r.stats]));
  }

  /** What agents said last, as far as the API bears it out. */
  get reports(): ReadonlyMap<string, NodeReport> {
    this.view();
    return this.#agents.believed;
  }

  /** Claims of agents that the API does not bear out, and when each agent has last spoken. */
  get agents(): Pick<AgentReports, 'refused' | 'heard'> {
    return this.#agents;
  }

  /** Assigned blocks as the API server has them this moment: the reflector may be behind what another leader wrote last. */
  async freshGivenBlocks(): Promise<StoredBlock[]> {
    const { items } = await this.#options.client.list(RESOURCES.addressBlocks);
    return items.flatMap((o) => READERS.addressBlocks(o) ?? []).filter((b) => b.given);
  }

  /** Takes a node's report. Returns whether it says anything new. */
  report(report: NodeReport): boolean {
    const isNew = this.#agents.take(report);
    if (isNew) this.#view = undefined;
    return isNew;
  }

  /** The present state, indexed. Worked out once, until something changes. */
  view(): View {
    this.#view ??= viewOf(this.#state());
    return this.#view;
  }

  /** The present state. It refers to live maps: use it before the next await. */
  #state(): ClusterState {
    const { podCIDRs, serviceCIDRs } = this.#options;
    const read = stateFromObjects(this.#objects, { podCIDRs, serviceCIDRs });
    const stored = [...this.storedBlocks.values()].map(blockOf);
    const reports = this.#agents.judge(read, stored);
    return {
      ...read,
      nodes: new Map([...read.nodes].map(([name, n]) => [name, withReport(n, reports.get(name), read)])),
      ...attachedBy(reports, { stored, pods: read.pods.values() }),
      multus: new Set([...reports.values()].flatMap((r) => (r.multus ? r.node : []))),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#later);
    await Promise.all([...this.#reflectors.values()].map((r) => r[Symbol.asyncDispose]()));
  }

  /** An administrator may install these kinds while the controller runs. */
  #lookLater(missing: readonly ResourceName[]): void {
    this.#later = setTimeout(() => void this.#look(missing), 10_000).unref();
  }

  async #look(missing: readonly ResourceName[]): Promise<void> {
    const still: ResourceName[] = [];
    for (const name of missing) {
      if (await this.#serves(RESOURCES[name])) this.#follow(name);
      else still.push(name);
    }
    for (const r of this.#reflectors.values()) r.start();
    if (still.length > 0) this.#lookLater(still);
  }

  /** Whether this API server has a kind at all. Asks until it gets an answer. */
  async #serves(resource: Resource): Promise<boolean> {
    for (;;) {
      try {
        await this.#options.client.list(resource, { limit: 1 });
        return true;
      } catch (error) {
        if (isKube(error, 'NotFound') || isKube(error, 'Forbidden')) return false;
        this.#options.onTrouble({ what: `list ${resource.plural}`, error, retryInMs: 1_000 });
        await systemClock.sleep(1_000);
      }
    }
  }

  #readSettings(raw: KubeObject): Settings {
    const settings = READERS.bulkheadConfigs(raw);
    if (settings.unreadable) {
      const error = new Error(
        `${settings.unreadable.join('; ')}: the parts with these fields count as closed; mend them, or upgrade the controller`,
      );
      this.#options.onTrouble({ what: `read BulkheadConfig ${raw.metadata.name}`, error, retryInMs: 0 });
    }
    return settings;
  }

  #changed(): void {
    this.#view = undefined;
    this.#options.onChange();
  }

  /** Follows one kind into its map. */
  #follow(name: ResourceName): void {
    const read: (raw: KubeObject) => unknown =
      name === 'bulkheadConfigs' ? (raw) => this.#readSettings(raw) : READERS[name];
    this.#reflect(RESOURCES[name], this.#objects[name], read);
  }

  #reflect<T>(resource: Resource, into: Map<string, T>, read: (raw: KubeObject) => T | undefined): void {
    this.#reflectors.set(
      resource.plural,
      new Reflector<T | undefined>({
        client: this.#options.client,
        resource,
        read,
        onReplace: (items) => {
          into.clear();
          for (const [key, value] of items) if (value !== undefined) into.set(key, value);
          this.#changed();
        },
        onEvent: (key, value) => {
          if (value === undefined) into.delete(key);
          else into.set(key, value);
          this.#changed();
        },
        onTrouble: (trouble) => {
          this.#trouble.set(resource.plural, trouble.error);
          this.#options.onTrouble(trouble);
        },
      }) as Reflector<unknown>,
    );
  }
}

function describeTrouble(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  if (isKube(error, 'NotFound')) return `${message}: install manifests/crds`;
  if (isKube(error, 'Forbidden')) return `${message}: install manifests/rbac/controller.yaml`;
  return message;
}
