import {
  type AdmissionRequest,
  type AdmissionResponse,
  reviewAdmission,
  type AdmissionUser,
} from '../../core/admission/review.ts';
import type { View } from '../../core/view/view.ts';
import { mayAccess } from '../../lib/kube/authorize.ts';
import type { KubeClient } from '../../lib/kube/client.ts';

/** The API server waits 2 s for the whole review of a pod. */
const PATIENCE_MS = 1_000;
const REMEMBER_MS = 60_000;
const MOST_USERS = 1_000;

/** What one must be able to list to be told who else is there. */
const EVERYTHING = [
  { group: 'bulkhead.dev', resource: 'virtualnetworks', verb: 'list' },
  { group: '', resource: 'pods', verb: 'list' },
  { group: '', resource: 'nodes', verb: 'list' },
];

/**
 * Answers reviews. Only for the API server it looks at the cluster, and only a user who may list networks, pods and nodes of the
 * whole cluster is told anything about other namespaces.
 */
export class Reviewer {
  readonly #client: KubeClient;
  readonly #view: () => View;
  readonly #known = new Map<string, { readonly all: boolean; readonly until: number }>();

  constructor(client: KubeClient, view: () => View) {
    this.#client = client;
    this.#view = view;
  }

  async review(request: AdmissionRequest, fromApiServer: boolean): Promise<AdmissionResponse> {
    const view = this.#view();
    if (!fromApiServer) return reviewAdmission(view, request, 'Nothing').response;
    const { response, withheld } = reviewAdmission(view, request, 'Own');
    if (!withheld || !request.userInfo || !(await this.#seesAll(request.userInfo))) return response;
    return reviewAdmission(this.#view(), request, 'All').response;
  }

  async #seesAll(user: AdmissionUser): Promise<boolean> {
    const key = JSON.stringify([user.username, user.uid, user.groups, user.extra]);
    const known = this.#known.get(key);
    if (known && known.until > Date.now()) return known.all;
    const asked = Promise.all(
      EVERYTHING.map((resourceAttributes) => mayAccess(this.#client, user, { resourceAttributes })),
    );
    const answers = await Promise.race([
      asked.catch(() => undefined),
      new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), PATIENCE_MS)),
    ]);
    if (!answers) return false; // the shorter answer is right, too
    const all = answers.every(Boolean);
    if (this.#known.size >= MOST_USERS) this.#known.clear();
    this.#known.set(key, { all, until: Date.now() + REMEMBER_MS });
    return all;
  }
}
