import type { ClusterState } from '../cluster/state.ts';

/** A port of a Service that the API server calls by itself. */
export type CalledPort = { readonly namespace: string; readonly name: string; readonly port: number };

type Raw = { readonly [field: string]: unknown };

/** HTTPS, where the object names no port (admissionregistration.k8s.io ServiceReference and its likes). */
const DEFAULT_PORT = 443;

/** Ports that a ValidatingWebhookConfiguration or a MutatingWebhookConfiguration names. */
export const readWebhooks = (raw: Raw): CalledPort[] =>
  list(raw['webhooks']).flatMap((webhook) => calledBy(object(webhook['clientConfig'])['service']));

/** The port that converts the versions of a CustomResourceDefinition. */
export const readConversion = (raw: Raw): CalledPort[] => {
  const webhook = object(object(object(raw['spec'])['conversion'])['webhook']);
  return calledBy(object(webhook['clientConfig'])['service']);
};

/** The port behind which an APIService's group is served; none for groups of the API server itself. */
export const readApiService = (raw: Raw): CalledPort[] => calledBy(object(raw['spec'])['service']);

/** Ports of each Service that the API server calls, by "namespace/name". */
export function registeredPorts({ called }: Pick<ClusterState, 'called'>): ReadonlyMap<string, ReadonlySet<number>> {
  const ports = new Map<string, Set<number>>();
  for (const { namespace, name, port } of [...(called?.values() ?? [])].flat()) {
    const key = `${namespace}/${name}`;
    const known = ports.get(key);
    if (known) known.add(port);
    else ports.set(key, new Set([port]));
  }
  return ports;
}

function calledBy(service: unknown): CalledPort[] {
  const { namespace, name, port = DEFAULT_PORT } = object(service);
  if (typeof namespace !== 'string' || typeof name !== 'string' || typeof port !== 'number') return [];
  return [{ namespace, name, port }];
}

const object = (v: unknown): Raw => (typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as Raw) : {});
const list = (v: unknown): Raw[] => (Array.isArray(v) ? v.map(object) : []);
