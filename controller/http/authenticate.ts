import { AGENT_AUDIENCE, AGENT_SERVICE_ACCOUNT, SYSTEM_NAMESPACE } from '../../api/names.ts';
import { reviewToken } from '../../lib/kube/authorize.ts';
import type { KubeClient } from '../../lib/kube/client.ts';
import { TokenAnswers } from '../../lib/kube/token-answers.ts';

/** Tells which node an agent speaks for, by its ServiceAccount token; undefined for anybody else. */
export const agentTokens = (client: KubeClient): TokenAnswers<string> =>
  new TokenAnswers({
    ask: async (token) => {
      const user = await reviewToken(client, token, AGENT_AUDIENCE);
      const isAgent = user?.username === `system:serviceaccount:${SYSTEM_NAMESPACE}:${AGENT_SERVICE_ACCOUNT}`;
      // The API server puts the node of a pod-bound token here (since 1.30), so an agent cannot claim another node.
      return isAgent ? user.extra?.['authentication.kubernetes.io/node-name']?.[0] : undefined;
    },
  });
