import { AGENT_AUDIENCE, AGENT_SERVICE_ACCOUNT, SYSTEM_NAMESPACE } from '../../api/names.ts';
import { reviewToken } from '../../lib/kube/authorize.ts';
import type { KubeClient } from '../../lib/kube/client.ts';

/** Tells which node an agent speaks for, by its ServiceAccount token; undefined for anybody else. */
export class AgentAuthenticator {
  readonly #client: KubeClient;
  readonly #cache = new Map<string, { readonly node: string | undefined; readonly until: number }>();

  constructor(client: KubeClient) {
    this.#client = client;
  }

  async nodeOf(token: string): Promise<string | undefined> {
    const cached = this.#cache.get(token);
    if (cached && cached.until > Date.now()) return cached.node;
    if (this.#cache.size > 10_000) this.#cache.clear();
    const user = await reviewToken(this.#client, token, AGENT_AUDIENCE);
    const isAgent = user?.username === `system:serviceaccount:${SYSTEM_NAMESPACE}:${AGENT_SERVICE_ACCOUNT}`;
    // The API server puts the node of a pod-bound token here (since 1.30), so an agent cannot claim another node.
    const node = isAgent ? user.extra?.['authentication.kubernetes.io/node-name']?.[0] : undefined;
    this.#cache.set(token, { node, until: Date.now() + (node === undefined ? 5_000 : 60_000) });
    return node;
  }
}
