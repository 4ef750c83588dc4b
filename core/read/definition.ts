import { parseJson } from '../../lib/text/json.ts';
import type { AttachmentDefinition } from '../cluster/state.ts';
import { objectOf } from './problems.ts';

/** The type by which a NetworkAttachmentDefinition says that it is ours. */
const PLUGIN = 'bulkhead';

/**
 * Reads a NetworkAttachmentDefinition: which plugin it is for, and for ours which network. Its `spec.config` is a CNI network
 * configuration, or a list whose first plugin counts; `network` names the VirtualNetwork, or it has the definition's own name.
 */
export function readDefinition(raw: { readonly [key: string]: unknown }): AttachmentDefinition {
  const meta = objectOf(raw['metadata']);
  const [namespace, name] = [meta['namespace'], meta['name']].map((v) => (typeof v === 'string' ? v : '')) as [
    string,
    string,
  ];
  const text = objectOf(raw['spec'])['config'];
  let config: { type?: unknown; network?: unknown; plugins?: unknown } = {};
  try {
    config = typeof text === 'string' ? (parseJson(text) as typeof config) : {};
  } catch {
    // no configuration that a runtime could use: a plugin without a name
  }
  const [first = config] = Array.isArray(config?.plugins) ? (config.plugins as (typeof config)[]) : [];
  const plugin = typeof first?.type === 'string' ? first.type : '';
  const named = typeof first?.network === 'string' ? first.network : name;
  const network = named.includes('/') ? named : `${namespace}/${named}`;
  return { namespace, name, plugin, network: plugin === PLUGIN ? network : undefined };
}
