import type { CalledPort } from '../cluster/state.ts';

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

function calledBy(service: unknown): CalledPort[] {
  const { namespace, name, port = DEFAULT_PORT } = object(service);
  if (typeof namespace !== 'string' || typeof name !== 'string' || typeof port !== 'number') return [];
  return [{ namespace, name, port }];
}

const object = (v: unknown): Raw => (typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as Raw) : {});
const list = (v: unknown): Raw[] => (Array.isArray(v) ? v.map(object) : []);
