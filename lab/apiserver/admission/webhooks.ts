import { randomUUID } from 'node:crypto';
import jsonPatch from 'fast-json-patch';
import { CelError } from '../cel/expression.ts';
import type { Problem } from '../cel/rules.ts';
import { celValue } from '../cel/values.ts';
import { ApiError } from '../model/error.ts';
import { arr, isObject, type Json, num, obj, str, strs } from '../model/path.ts';
import type { Resources } from '../objects/resources.ts';
import type { Store, StoredObject } from '../objects/store.ts';
import { type Attributes, requestOf } from './attributes.ts';
import { allHold, type Named, readConditions, REQUEST_VARIABLES } from './conditions.ts';
import { type NamespaceLabels, selects } from './match.ts';

const GROUP = 'admissionregistration.k8s.io';

/** Sends a review to a webhook, and gives its answer. Rejects with why there is none. */
export type CallWebhook = (clientConfig: Json, review: Json, timeoutMs: number) => Promise<unknown>;

type Webhook = { readonly raw: Json; readonly name: string; readonly conditions: readonly Named[] };
type Answer = {
  readonly warnings: readonly string[];
  readonly patch?: jsonPatch.Operation[];
  readonly refusal?: ApiError;
};

/** The webhooks of a store. */
export class Webhooks {
  readonly #store: Store;
  readonly #resources: Resources;
  readonly #namespaceLabels: NamespaceLabels;
  readonly #call: CallWebhook;
  readonly #read = new WeakMap<StoredObject, readonly Webhook[]>();

  constructor(store: Store, resources: Resources, namespaceLabels: NamespaceLabels, call: CallWebhook) {
    this.#store = store;
    this.#resources = resources;
    this.#namespaceLabels = namespaceLabels;
    this.#call = call;
  }

  /** Calls those that may change the object, one after the other, by name of configuration. Gives the object as they leave it. */
  async mutate(a: Attributes, warnings: string[]): Promise<Json | undefined> {
    let { object } = a;
    for (const webhook of this.#chosen('MutatingWebhookConfiguration', a)) {
      const answer = await this.#ask(webhook, { ...a, object });
      warnings.push(...answer.warnings);
      if (answer.refusal) throw answer.refusal;
      if (answer.patch && object) object = patched(webhook, object, answer.patch);
    }
    return object;
  }

  /** Asks all that validate, at once. Throws the first refusal, in the order of their names. */
  async validate(a: Attributes, warnings: string[]): Promise<void> {
    const chosen = this.#chosen('ValidatingWebhookConfiguration', a);
    const answers = await Promise.all(chosen.map((webhook) => this.#ask(webhook, a)));
    for (const answer of answers) warnings.push(...answer.warnings);
    const refusal = answers.find((answer) => answer.refusal !== undefined)?.refusal;
    if (refusal) throw refusal;
  }

  #chosen(kind: string, a: Attributes): Webhook[] {
    const configurations = [...this.#store.all(this.#resources.kind(kind, GROUP))];
    if (configurations.length === 0) return [];
    return configurations
      .sort((x, y) => (x.metadata.name < y.metadata.name ? -1 : 1))
      .flatMap((c) => this.#webhooksOf(c))
      .filter((w) => selects(w.raw['rules'], w.raw, a, this.#namespaceLabels));
  }

  #webhooksOf(configuration: StoredObject): readonly Webhook[] {
    let webhooks = this.#read.get(configuration);
    if (!webhooks) {
      ({ webhooks } = readWebhooks(configuration));
      this.#read.set(configuration, webhooks);
    }
    return webhooks;
  }

  async #ask({ raw, name, conditions }: Webhook, a: Attributes): Promise<Answer> {
    const ignoresFailure = raw['failurePolicy'] === 'Ignore';
    const request = requestOf(a, randomUUID());
    try {
      const { object: _o, oldObject: _p, ...shown } = request;
      const variables = {
        object: celValue(a.object ?? null),
        oldObject: celValue(a.oldObject ?? null),
        request: celValue(shown),
      };
      if (!allHold(conditions, variables)) return { warnings: [] };
    } catch (error) {
      if (!(error instanceof CelError)) throw error;
      if (ignoresFailure) return { warnings: [] };
      return { warnings: [], refusal: new ApiError(403, 'Forbidden', `admission webhook "${name}": ${error.message}`) };
    }
    if (a.dryRun && !['None', 'NoneOnDryRun'].includes(str(raw['sideEffects'])))
      return {
        warnings: [],
        refusal: new ApiError(400, 'BadRequest', `admission webhook "${name}" does not support dry run`),
      };
    const seconds = num(raw['timeoutSeconds']) || 10;
    try {
      const review = { kind: 'AdmissionReview', apiVersion: 'admission.k8s.io/v1', request };
      return readAnswer(name, request['uid'], await this.#call(obj(raw['clientConfig']), review, seconds * 1000));
    } catch (error) {
      if (ignoresFailure) return { warnings: [] };
      const refusal = new ApiError(
        500,
        'InternalError',
        `Internal error occurred: failed calling webhook "${name}": failed to call webhook: ${(error as Error).message}`,
      );
      return { warnings: [], refusal };
    }
  }
}

/** What is wrong with a configuration of webhooks, as an API server tells when it is written. */
export function checkWebhooks(configuration: Json): readonly Problem[] {
  return readWebhooks(configuration).problems;
}

function readWebhooks(configuration: Json): { readonly webhooks: Webhook[]; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const webhooks = arr(configuration['webhooks']).map((raw, i) => {
    const path = `webhooks[${i}]`;
    const client = obj(raw['clientConfig']);
    if ((client['url'] === undefined) === (client['service'] === undefined))
      problems.push({ field: `${path}.clientConfig`, message: 'exactly one of url or service is required' });
    if (!['None', 'NoneOnDryRun'].includes(str(raw['sideEffects'])))
      problems.push({
        field: `${path}.sideEffects`,
        message: `must be None or NoneOnDryRun, not ${JSON.stringify(raw['sideEffects'])}`,
      });
    if (!strs(raw['admissionReviewVersions']).includes('v1'))
      problems.push({ field: `${path}.admissionReviewVersions`, message: 'must include v1' });
    const seconds = raw['timeoutSeconds'];
    if (seconds !== undefined && !(num(seconds) >= 1 && num(seconds) <= 30))
      problems.push({ field: `${path}.timeoutSeconds`, message: 'the timeout value must be between 1 and 30 seconds' });
    if (str(raw['name']).split('.').length < 3)
      problems.push({
        field: `${path}.name`,
        message: 'should be a domain with at least three segments separated by dots',
      });
    return { raw, name: str(raw['name']), conditions: readConditions(raw, `${path}.`, REQUEST_VARIABLES, problems) };
  });
  return { webhooks, problems };
}

/** Throws an Error for what is no answer to the review. */
function readAnswer(name: string, uid: unknown, answer: unknown): Answer {
  const response = isObject(answer) ? obj(answer['response']) : {};
  if (!isObject(answer) || answer['kind'] !== 'AdmissionReview' || answer['apiVersion'] !== 'admission.k8s.io/v1')
    throw new Error('expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview');
  if (response['uid'] !== uid)
    throw new Error(`expected response.uid=${JSON.stringify(uid)}, got ${JSON.stringify(response['uid'])}`);
  const warnings = strs(response['warnings']);
  if (response['allowed'] !== true) {
    const status = obj(response['status']);
    const message = str(status['message']);
    const denied = `admission webhook "${name}" denied the request`;
    return {
      warnings,
      refusal: new ApiError(
        Math.max(400, num(status['code'])),
        str(status['reason']) || 'BadRequest',
        message === '' ? `${denied} without explanation` : `${denied}: ${message}`,
      ),
    };
  }
  if (response['patch'] === undefined) return { warnings };
  if (response['patchType'] !== 'JSONPatch')
    throw new Error(`unsupported patch type ${JSON.stringify(response['patchType'])}`);
  const patch = JSON.parse(Buffer.from(str(response['patch']), 'base64').toString()) as jsonPatch.Operation[];
  return { warnings, patch };
}

function patched(webhook: Webhook, object: Json, patch: jsonPatch.Operation[]): Json {
  try {
    return jsonPatch.applyPatch(structuredClone(object), patch, true).newDocument;
  } catch (error) {
    throw new ApiError(
      500,
      'InternalError',
      `Internal error occurred: the patch of webhook "${webhook.name}" cannot be applied: ${(error as Error).message.split('\n')[0]}`,
    );
  }
}
