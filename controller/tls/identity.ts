import type { KubeClient } from '../../lib/kube/client.ts';
import { issueServer, lifeLeft, type ServerPem } from '../../lib/pki/certificates.ts';
import { ensureAuthority } from './authority.ts';

/** What a replica serves with, and what its clients should trust. */
export type Identity = { readonly tls: ServerPem; readonly bundle: string };

/** Keeps this replica's certificate valid and of the present authority. */
export class ServingIdentity {
  readonly #client: KubeClient;
  readonly #hosts: readonly string[];
  #current: Identity | undefined;

  constructor(client: KubeClient, hosts: readonly string[]) {
    this.#client = client;
    this.#hosts = hosts;
  }

  /** Looks at the authority and at the own certificate, and renews what needs it. Cheap when nothing does. */
  async refresh(now = Date.now()): Promise<Identity> {
    const { authority, bundle } = await ensureAuthority(this.#client, now);
    const ca = authority.cert.toString('pem');
    const before = this.#current?.tls;
    const tls =
      before?.ca === ca && lifeLeft(before.cert, now) > 1 / 3
        ? before
        : await issueServer(authority, 'bulkhead-controller', this.#hosts, now);
    this.#current = { tls, bundle };
    return this.#current;
  }
}
