import { DEFAULT_NETWORK_NAME, FLAT_NETWORK, ISOLATED } from '../../api/names.ts';
import { readNetwork } from '../read/objects.ts';
import { keyOf, type Pod } from '../cluster/state.ts';
import { type View, viewOf } from '../view/view.ts';
import { expectedReach } from './reach.ts';

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
  const was = expectedReach(before, world);
  const changes = new Map<string, ReachChange>();
  for (const [i, then] of expectedReach(after, world).entries()) {
    const first = was[i];
    if (!first || first.expected === then.expected) continue;
    const from = `pods of ${then.from.namespace}`;
    const to =
      then.to.kind === 'Pod'
        ? `pods of ${then.to.namespace}`
        : then.to.kind === 'Service'
          ? `Service ${then.to.namespace}/${then.to.name}`
          : then.to.kind === 'External'
            ? 'the outside'
            : then.to.kind === 'Node'
              ? 'nodes'
              : 'the Kubernetes API';
    const key = `${from}|${to}|${first.expected}|${then.expected}`;
    const known = changes.get(key);
    changes.set(key, {
      from,
      to,
      before: first.expected,
      after: then.expected,
      count: (known?.count ?? 0) + 1,
      why: known?.why ?? then.why,
    });
  }
  return [...changes.values()].sort((a, b) => (a.from + a.to < b.from + b.to ? -1 : 1));
}
