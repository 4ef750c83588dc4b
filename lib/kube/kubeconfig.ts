import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';

/** How to reach an API server and as whom. */
export type KubeAccess = {
  readonly server: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** Gives the bearer token of this moment: mounted tokens are renewed on disk. */
  readonly token?: () => string;
};

/** A kubeconfig that cannot be used. */
export class KubeconfigError extends Error {
  override readonly name = 'KubeconfigError';
  readonly code = 'BadKubeconfig';
}

const POD_DIR = '/var/run/secrets/kubernetes.io/serviceaccount';

/** From a file, or, without one, from the pod that this process runs in. Throws {@link KubeconfigError}. */
export function loadAccess(path: string | undefined = process.env['KUBECONFIG']): KubeAccess {
  return path === undefined || path === '' ? inCluster() : fromFile(path);
}

function inCluster(): KubeAccess {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env;
  if (host === undefined || port === undefined) {
    throw new KubeconfigError(
      'no kubeconfig: give --kubeconfig, set KUBECONFIG, or run in a pod with a ServiceAccount',
    );
  }
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    ca: readFileSync(`${POD_DIR}/ca.crt`, 'utf8'),
    token: () => readFileSync(`${POD_DIR}/token`, 'utf8').trim(),
  };
}

type Named<K extends string, T> = { readonly name: string } & { readonly [P in K]?: T };
type File = {
  readonly 'current-context'?: string;
  readonly contexts?: readonly Named<'context', { readonly cluster?: string; readonly user?: string }>[];
  readonly clusters?: readonly Named<'cluster', Record<string, string>>[];
  readonly users?: readonly Named<'user', Record<string, string>>[];
};

function fromFile(path: string): KubeAccess {
  let file: File;
  try {
    file = parse(readFileSync(path, 'utf8')) as File;
  } catch (cause) {
    throw new KubeconfigError(`kubeconfig ${path}: ${(cause as Error).message}`, { cause });
  }
  const name = file['current-context'];
  const context = file.contexts?.find((c) => c.name === name)?.context;
  const cluster = file.clusters?.find((c) => c.name === context?.cluster)?.cluster;
  const user = file.users?.find((u) => u.name === context?.user)?.user ?? {};
  const server = cluster?.['server'];
  if (!cluster || server === undefined)
    throw new KubeconfigError(`kubeconfig ${path}: context "${name ?? ''}" names no cluster with a server`);
  const text = (from: Record<string, string>, field: string): string | undefined => {
    const data = from[`${field}-data`];
    if (data !== undefined) return Buffer.from(data, 'base64').toString();
    const file = from[field];
    return file === undefined ? undefined : readFileSync(resolve(dirname(path), file), 'utf8');
  };
  const ca = text(cluster, 'certificate-authority');
  const cert = text(user, 'client-certificate');
  const key = text(user, 'client-key');
  const { token, tokenFile } = user;
  return {
    server: server.replace(/\/$/, ''),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(token !== undefined
      ? { token: () => token }
      : tokenFile !== undefined
        ? { token: () => readFileSync(tokenFile, 'utf8').trim() }
        : {}),
  };
}
