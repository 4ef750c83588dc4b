import { DEFAULT_NETWORK_NAME, FLAT_NETWORK, ISOLATED } from '../../api/names.ts';
import { readNetwork } from '../read/objects.ts';
import { keyOf, type Pod } from '../cluster/state.ts';
import { type View, viewOf } from '../view/view.ts';
import { type ExpectedProbe, expectedReach, probeKey } from './reach.ts';

/** Connections from one place to another that work now and will not, or the other way round. */
export type ReachChange = {
  readonly from: string;
  readonly to: string;
  readonly before: string;
  readonly after: string;
  readonly count: number;
  /** The object that decides afterwards. */
  readonly why: string;
};

/** What isolating a namespace that is in use would mean. */
export type ConversionPlan = {
  readonly namespace: string;
  /** Pods that stay where they are until they are made anew. */
  readonly restart: readonly Pod[];
  readonly changes: readonly ReachChange[];
  /** Why it cannot be done, or need not. */
  readonly obstacle?: string;
};

/**
 * Works out what changes when a namespace of the flat network is isolated: the same rules decide before and after, on the
 * same objects, so nothing has to be tried.
 */
export function planConversion(view: View, name: string, { nodePort }: { readonly nodePort: number }): ConversionPlan {
  const namespace = view.state.namespaces.get(name);
  const none = { namespace: name, restart: [], changes: [] };
  if (!namespace) return { ...none, obstacle: `namespace ${name} does not exist` };
  const now = view.namespaceAssignment.get(name);
  if (now && 'problem' in now) return { ...none, obstacle: now.problem.message };
  if (now && now.network !== FLAT_NETWORK)
    return { ...none, obstacle: `namespace ${name} is on network ${now.network} already` };
  const restart = [...view.state.pods.values()].filter((p) => p.namespace === name && !p.hostNetwork && !p.finished);
  return { namespace: name, restart, changes: compare(view, viewOf(isolated(view, name)), nodePort) };
}

/** The state as it will be when the label is there, the network made and every pod made anew. */
function isolated({ state }: View, name: string): View['state'] {
  const namespaces = new Map(state.namespaces);
  const before = namespaces.get(name);
  if (before) namespaces.set(name, { ...before, labels: { ...before.labels, [ISOLATED.key]: 'true' } });
  const network = readNetwork({
    metadata: { namespace: name, name: DEFAULT_NETWORK_NAME },
    spec: { egress: { mode: state.settings?.egress ?? 'None' } },
  });
  const networks = new Map(state.networks).set(keyOf(network), {
    ...network,
    vni: state.networks.get(keyOf(network))?.vni ?? 0xffffff,
  });
  const attached = new Map(state.attached);
  for (const pod of state.pods.values()) if (pod.namespace === name) attached.delete(pod.uid);
  return { ...state, namespaces, networks, attached };
}

function compare(before: View, after: View, nodePort: number): ReachChange[] {
  const world = {
    nodePort,
    outside: [{ name: 'internet', address: '203.0.113.1', port: 443, protocol: 'TCP' as const }],
  };
  // By the question, never by its place: one pod that gets or loses its network adds or removes questions.
  const was = new Map(expectedReach(before, world).map((p) => [probeKey(p), p]));
  const willBe = new Map(expectedReach(after, world).map((p) => [probeKey(p), p]));
  const changes = new Map<string, ReachChange>();
  for (const key of new Set([...was.keys(), ...willBe.keys()])) {
    const [first, then] = [was.get(key), willBe.get(key)];
    const probe = then ?? first;
    if (!probe || (first?.expected ?? 'closed') === (then?.expected ?? 'closed')) continue;
    note(changes, probe, first?.expected ?? 'closed', then ?? { expected: 'closed', why: WITHOUT_NETWORK });
  }
  return [...changes.values()].sort((a, b) => (a.from + a.to < b.from + b.to ? -1 : 1));
}

const WITHOUT_NETWORK = 'the pod has no network';

function note(
  changes: Map<string, ReachChange>,
  { from: { namespace }, to: target }: Pick<ExpectedProbe, 'from' | 'to'>,
  before: string,
  { expected: after, why }: Pick<ExpectedProbe, 'expected' | 'why'>,
): void {
  const from = `pods of ${namespace}`;
  const to = describeTarget(target);
  const key = `${from}|${to}|${before}|${after}`;
  const known = changes.get(key);
  changes.set(key, { from, to, before, after, count: (known?.count ?? 0) + 1, why: known?.why ?? why });
}

function describeTarget({ kind, namespace, name }: ExpectedProbe['to']): string {
  switch (kind) {
    case 'Pod':
      return `pods of ${namespace}`;
    case 'Service':
      return `Service ${namespace}/${name}`;
    case 'External':
      return 'the outside';
    case 'Node':
      return 'nodes';
    case 'API':
      return 'the Kubernetes API';
  }
}
