import type { Json } from '../model/path.ts';
import type { Resources } from '../objects/resources.ts';
import type { Store } from '../objects/store.ts';
import type { Attributes } from './attributes.ts';
import { Policies } from './policies.ts';
import { type CallWebhook, Webhooks } from './webhooks.ts';

/**
 * What stands between a request and the store, in the order of an API server: webhooks that change the object, then (behind the
 * checks of its schema) policies, then webhooks that validate. Each refuses by throwing.
 */
export class Admission {
  readonly #policies: Policies;
  readonly #webhooks: Webhooks;

  constructor(
    store: Store,
    resources: Resources,
    call: CallWebhook,
    audit: (message: string) => void = () => undefined,
  ) {
    const namespaces = resources.kind('Namespace', '');
    const labelsOf = (name: string) => {
      const found = store.get(namespaces, undefined, name);
      return found && (found.metadata.labels ?? {});
    };
    this.#policies = new Policies(store, resources, labelsOf, audit);
    this.#webhooks = new Webhooks(store, resources, labelsOf, call);
  }

  async mutate(a: Attributes, warnings: string[]): Promise<Json | undefined> {
    return isConfiguration(a) ? a.object : await this.#webhooks.mutate(a, warnings);
  }

  async validate(a: Attributes, warnings: string[]): Promise<void> {
    if (isConfiguration(a)) return;
    const verdict = this.#policies.judge(a);
    warnings.push(...verdict.warnings);
    if (verdict.refusal) throw verdict.refusal;
    await this.#webhooks.validate(a, warnings);
  }
}

/** Nothing judges the configuration of admission itself: it must always be possible to mend it. */
const isConfiguration = ({ type }: Attributes): boolean => type.group === 'admissionregistration.k8s.io';
