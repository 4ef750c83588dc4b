import type { KubeClient, KubeObject } from './client.ts';
import { TokenAnswers } from './token-answers.ts';

/** Who holds a token, as the API server says. */
export type TokenUser = {
  readonly username: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
};

/** Asks the API server who a bearer token belongs to (TokenReview). Undefined: to no user, or not for this audience. */
export async function reviewToken(
  client: KubeClient,
  token: string,
  audience?: string,
): Promise<TokenUser | undefined> {
  const review = await client.json<KubeObject & { status?: { authenticated?: boolean; user?: TokenUser } }>(
    'POST',
    '/apis/authentication.k8s.io/v1/tokenreviews',
    {
      body: {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        metadata: {},
        spec: { token, ...(audience === undefined ? {} : { audiences: [audience] }) },
      },
    },
  );
  return review.status?.authenticated === true ? review.status.user : undefined;
}

/** What a user may do: with a path that is no resource, such as /metrics, or with a resource in all namespaces. */
export type AccessAttributes =
  | { readonly nonResourceAttributes: { readonly path: string; readonly verb: string } }
  | { readonly resourceAttributes: { readonly group: string; readonly resource: string; readonly verb: string } };

/** Whether a user may do something (SubjectAccessReview). */
export async function mayAccess(client: KubeClient, user: TokenUser, attributes: AccessAttributes): Promise<boolean> {
  const review = await client.json<KubeObject & { status?: { allowed?: boolean } }>(
    'POST',
    '/apis/authorization.k8s.io/v1/subjectaccessreviews',
    {
      body: {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        metadata: {},
        spec: {
          user: user.username,
          ...(user.uid === undefined ? {} : { uid: user.uid }),
          groups: user.groups ?? [],
          extra: user.extra ?? {},
          ...attributes,
        },
      },
    },
  );
  return review.status?.allowed === true;
}

/** Who may read /metrics, by token. */
export const metricsAccess = (client: KubeClient): TokenAnswers<true> =>
  new TokenAnswers({
    ask: async (token) => {
      const user = await reviewToken(client, token);
      return user !== undefined &&
        (await mayAccess(client, user, { nonResourceAttributes: { path: '/metrics', verb: 'get' } }))
        ? true
        : undefined;
    },
  });
