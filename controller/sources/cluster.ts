import type { NodeReport } from '../../api/report.ts';
import type { BlockItem } from '../../api/nodeconfig.ts';
import { GROUP, VERSION } from '../../api/names.ts';
import {
  readEndpointSlice,
  readNamespace,
  readNetwork,
  readNode,
  readPod,
  readRouter,
  readService,
  readSettings,
} from '../../core/read/objects.ts';
import { readDefinition } from '../../core/read/definition.ts';
import { attachedBy } from '../../core/reports/attached.ts';
import { withReport } from '../../core/nodes/reported.ts';
import { readApiService, readConversion, readWebhooks } from '../../core/read/called-ports.ts';
import type { CalledPort } from '../../core/cluster/state.ts';
import { policyKey, type Policy } from '../../core/cluster/policy.ts';
import { parseClusterNetworkPolicy } from '../../core/read/cluster-network-policy.ts';
import { parseNetworkPolicy } from '../../core/read/network-policy.ts';
import type { AttachmentDefinition, ClusterState, Settings } from '../../core/cluster/state.ts';
import type { Refusal } from '../../core/reports/believe.ts';
import { type View, viewOf } from '../../core/view/view.ts';
import { formatPrefix, parsePrefix } from '../../lib/ip/prefix.ts';
import { core, type KubeClient, type KubeObject, type Resource } from '../../lib/kube/client.ts';
import { isKube } from '../../lib/kube/error.ts';
import { systemClock } from '../../lib/reconcile/clock.ts';
import { Reflector, type ReflectorStats } from '../../lib/kube/reflector.ts';
import { AgentReports } from './agent-reports.ts';

/** An AddressBlock as it is in the API. */
export type StoredBlock = BlockItem & { readonly objectName: string };

export const VIRTUAL_NETWORKS: Resource = { group: GROUP, version: VERSION, plural: 'virtualnetworks' };
export const VIRTUAL_NETWORK_ROUTERS: Resource = { group: GROUP, version: VERSION, plural: 'virtualnetworkrouters' };
export const BULKHEAD_CONFIGS: Resource = { group: GROUP, version: VERSION, plural: 'bulkheadconfigs' };
export const ADDRESS_BLOCKS: Resource = { group: GROUP, version: VERSION, plural: 'addressblocks' };
const SERVICE_CIDRS: Resource = { group: 'networking.k8s.io', version: 'v1', plural: 'servicecidrs' };
/** Of the Network Plumbing Working Group; only where an administrator installed it. */
const DEFINITIONS: Resource = { group: 'k8s.cni.cncf.io', version: 'v1', plural: 'network-attachment-definitions' };
const NETWORK_POLICIES: Resource = { group: 'networking.k8s.io', version: 'v1', plural: 'networkpolicies' };
export const CLUSTER_POLICIES: Resource = {
  group: 'policy.networking.k8s.io',
  version: 'v1alpha2',
  plural: 'clusternetworkpolicies',
};
/** Objects that name Services which the API server calls by itself. */
const CALLERS: readonly (readonly [Resource, (raw: KubeObject) => CalledPort[]])[] = [
  [admissionRegistration('validatingwebhookconfigurations'), readWebhooks],
  [admissionRegistration('mutatingwebhookconfigurations'), readWebhooks],
  [{ group: 'apiextensions.k8s.io', version: 'v1', plural: 'customresourcedefinitions' }, readConversion],
  [{ group: 'apiregistration.k8s.io', version: 'v1', plural: 'apiservices' }, readApiService],
];
const SLICES: Resource = { group: 'discovery.k8s.io', version: 'v1', plural: 'endpointslices' };

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
  readonly #maps = {
    namespaces: new Map<string, ReturnType<typeof readNamespace>>(),
    nodes: new Map<string, ReturnType<typeof readNode>>(),
    pods: new Map<string, ReturnType<typeof readPod>>(),
    networks: new Map<string, ReturnType<typeof readNetwork>>(),
    routers: new Map<string, ReturnType<typeof readRouter>>(),
    services: new Map<string, ReturnType<typeof readService>>(),
    slices: new Map<string, ReturnType<typeof readEndpointSlice>>(),
  };
  readonly #policies = { network: new Map<string, Policy>(), cluster: new Map<string, Policy>() };
  readonly #others = {
    serviceCIDRs: new Map<string, readonly string[]>(),
    settings: new Map<string, Settings>(),
    definitions: new Map<string, AttachmentDefinition>(),
  };
  /** By kind, then by name. */
  readonly #called = CALLERS.map(() => new Map<string, readonly CalledPort[]>());
  readonly #trouble = new Map<string, unknown>();
  #view: View | undefined;
  #later: NodeJS.Timeout | undefined;
  readonly storedBlocks = new Map<string, StoredBlock>();
  readonly #agents: AgentReports;

  constructor(options: ClusterSourceOptions) {
    this.#options = options;
    this.#agents = new AgentReports(options.onRefused);
    const { namespaces, nodes, pods, networks, routers, services, slices } = this.#maps;
    this.#reflect(core('namespaces'), namespaces, readNamespace);
    this.#reflect(core('nodes'), nodes, readNode);
    this.#reflect(VIRTUAL_NETWORKS, networks, readNetwork);
    this.#reflect(VIRTUAL_NETWORK_ROUTERS, routers, readRouter);
    this.#reflect(ADDRESS_BLOCKS, this.storedBlocks, readBlock);
    this.#reflect(core('services'), services, readService);
    this.#reflect(SLICES, slices, readEndpointSlice);
    this.#reflect(core('pods'), pods, readPod);
    this.#reflect(NETWORK_POLICIES, this.#policies.network, parseNetworkPolicy);
  }

  /** Starts all reflectors; resolves when each has its first list. */
  async start(): Promise<void> {
    if (this.#options.serviceCIDRs.length === 0 && (await this.#serves(SERVICE_CIDRS)))
      this.#reflect(SERVICE_CIDRS, this.#others.serviceCIDRs, readServiceCidr);
    if (await this.#serves(BULKHEAD_CONFIGS))
      this.#reflect(BULKHEAD_CONFIGS, this.#others.settings, (raw) => this.#readSettings(raw));
    const missing: (() => Promise<boolean>)[] = [];
    for (const add of [
      () => this.#reflectIfServed(DEFINITIONS, this.#others.definitions, readDefinition),
      ...CALLERS.map(
        ([resource, read], i) =>
          () =>
            this.#reflectIfServed(resource, this.#called[i] ?? new Map(), (raw) => {
              const ports = read(raw);
              return ports.length > 0 ? ports : undefined;
            }),
      ),
      () => this.#reflectIfServed(CLUSTER_POLICIES, this.#policies.cluster, parseClusterNetworkPolicy),
    ])
      if (!(await add())) missing.push(add);
    if (missing.length > 0) this.#lookLater(missing);
    for (const r of this.#reflectors.values()) r.start();
    await Promise.all([...this.#reflectors.values()].map((r) => r.synced()));
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

  /** Given blocks as the API server has them this moment: the reflector may be behind what another leader wrote last. */
  async freshGivenBlocks(): Promise<StoredBlock[]> {
    const { items } = await this.#options.client.list(ADDRESS_BLOCKS);
    return items.flatMap((o) => readBlock(o) ?? []).filter((b) => b.given);
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
    const { nodes } = this.#maps;
    const settings = this.#others.settings.get('default');
    const stored = [...this.storedBlocks.values()].map(blockOf);
    const cluster = { ...this.#maps, definitions: this.#others.definitions, ...(settings ? { settings } : {}) };
    const reports = this.#agents.judge(cluster, stored);
    const podCIDRs =
      this.#options.podCIDRs.length > 0 ? this.#options.podCIDRs : [...nodes.values()].flatMap((n) => n.podCIDRs);
    const serviceCIDRs =
      this.#options.serviceCIDRs.length > 0
        ? this.#options.serviceCIDRs
        : [...new Set([...this.#others.serviceCIDRs.values()].flat())];
    return {
      ...(settings ? { settings } : {}),
      ...this.#maps,
      nodes: new Map(
        [...nodes].map(([name, n]) => [name, withReport(n, reports.get(name), { podCIDRs, serviceCIDRs })]),
      ),
      ...attachedBy(reports, { stored, pods: this.#maps.pods.values() }),
      policies: new Map(
        [...this.#policies.network.values(), ...this.#policies.cluster.values()].map((p) => [policyKey(p), p]),
      ),
      definitions: this.#others.definitions,
      called: new Map(this.#called.flatMap((m, i) => [...m].map(([name, ports]) => [`${i} ${name}`, ports]))),
      multus: new Set([...reports.values()].flatMap((r) => (r.multus ? r.node : []))),
      podCIDRs,
      serviceCIDRs,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#later);
    await Promise.all([...this.#reflectors.values()].map((r) => r[Symbol.asyncDispose]()));
  }

  /** An administrator may install these kinds while the controller runs. */
  #lookLater(missing: readonly (() => Promise<boolean>)[]): void {
    this.#later = setTimeout(() => void this.#look(missing), 10_000).unref();
  }

  async #look(missing: readonly (() => Promise<boolean>)[]): Promise<void> {
    const still: (() => Promise<boolean>)[] = [];
    for (const add of missing) if (!(await add())) still.push(add);
    for (const r of this.#reflectors.values()) r.start();
    if (still.length > 0) this.#lookLater(still);
  }

  async #reflectIfServed<T>(
    resource: Resource,
    into: Map<string, T>,
    read: (raw: KubeObject) => T | undefined,
  ): Promise<boolean> {
    if (!(await this.#serves(resource))) return false;
    this.#reflect(resource, into, read);
    return true;
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
    const settings = readSettings(raw);
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

function admissionRegistration(plural: string): Resource {
  return { group: 'admissionregistration.k8s.io', version: 'v1', plural };
}

const blockOf = (stored: StoredBlock): BlockItem => {
  const { objectName: _, ...block } = stored;
  return block;
};

function describeTrouble(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  if (isKube(error, 'NotFound')) return `${message}: install manifests/crds`;
  if (isKube(error, 'Forbidden')) return `${message}: install manifests/rbac/controller.yaml`;
  return message;
}

const readServiceCidr = (raw: KubeObject): string[] =>
  (((raw['spec'] as { cidrs?: unknown } | undefined)?.cidrs ?? []) as unknown[]).flatMap((c) => {
    const prefix = typeof c === 'string' ? parsePrefix(c) : undefined;
    return prefix ? [formatPrefix(prefix)] : [];
  });

function readBlock(raw: KubeObject): StoredBlock | undefined {
  const spec = raw['spec'] as
    | { cidr?: string; node?: string; source?: string; network?: { namespace?: string; name?: string } }
    | undefined;
  const prefix = parsePrefix(spec?.cidr ?? '');
  if (!prefix || spec?.node === undefined || spec.network?.name === undefined) return undefined;
  const { namespace = '', name } = spec.network;
  return {
    objectName: raw.metadata.name,
    cidr: formatPrefix(prefix),
    node: spec.node,
    network: namespace === '' ? name : `${namespace}/${name}`,
    ...(spec.source === 'Subnet' ? { given: true as const } : {}),
  };
}
