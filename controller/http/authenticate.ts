import { AGENT_AUDIENCE, AGENT_SERVICE_ACCOUNT, SYSTEM_NAMESPACE } from '../../api/names.ts';
import type { View } from '../../core/view/view.ts';
import { reviewToken } from '../../lib/kube/authorize.ts';
import type { KubeClient } from '../../lib/kube/client.ts';
import { TokenAnswers } from '../../lib/kube/token-answers.ts';

/** Tells which node an agent speaks for, by its ServiceAccount token; undefined for other callers. */
export const agentTokens = (client: KubeClient, view: () => View): TokenAnswers<string> =>
  new TokenAnswers({
    ask: async (token) => {
      const user = await reviewToken(client, token, AGENT_AUDIENCE);
      const isAgent = user?.username === `system:serviceaccount:${SYSTEM_NAMESPACE}:${AGENT_SERVICE_ACCOUNT}`;
      // The API server puts the node of a pod-bound token here (since 1.30), so an agent cannot claim another node.
      return isAgent ? user.extra?.['authentication.kubernetes.io/node-name']?.[0] : undefined;
    },
    // Flat pods of a node reach the controller from the node's address, as its agent does: a flood of theirs must not keep it waiting.
    isLikely: (token) => agentPods(view()).has(podOf(token) ?? ''),
  });

const known = new WeakMap<View, ReadonlySet<string>>();

/** Uids of the agents' pods: who cannot read pods of the system namespace cannot guess them. */
function agentPods(view: View): ReadonlySet<string> {
  const before = known.get(view);
  if (before) return before;
  const uids = new Set<string>();
  for (const pod of view.state.pods.values())
    if (pod.namespace === SYSTEM_NAMESPACE && pod.serviceAccount === AGENT_SERVICE_ACCOUNT) uids.add(pod.uid);
  known.set(view, uids);
  return uids;
}

/** The uid of the pod that a token says it is bound to. The signature is not checked here. */
export function podOf(token: string): string | undefined {
  const [, payload] = token.split('.');
  if (payload === undefined || payload.length > 8_192) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString());
    const uid = (claims as { 'kubernetes.io'?: { pod?: { uid?: unknown } } } | null)?.['kubernetes.io']?.pod?.uid;
    return typeof uid === 'string' ? uid : undefined;
  } catch {
    return undefined;
  }
}
