import { CA_CONFIGMAP, CONTROLLER_LEASE, LEADER_URL, SYSTEM_NAMESPACE } from '../../api/names.ts';
import { emptyNodeConfig, type StreamEvent } from '../../api/nodeconfig.ts';
import type { NodeReport } from '../../api/report.ts';
import { applyEvent, diffConfig } from '../../core/node-config/compile.ts';
import { core, KubeClient } from '../../lib/kube/client.ts';
import type { KubeAccess } from '../../lib/kube/kubeconfig.ts';
import type { ConfigStore } from './config-store.ts';
import { readEvent, StreamError } from './read-event.ts';

/** One line holds one item. A group of 100 000 addresses is below 5 MB. */
const MAX_LINE = 32 << 20;
/** Changes that wait for their sync. */
const MAX_BATCH = 1_000_000;

/** What the link tells the agent. Handlers must not throw. */
export type LinkHandlers = {
  /** The whole of a revision has arrived. */
  readonly onSync: (revision: number) => void;
  readonly onTrouble: (message: string, error: unknown) => void;
};

export type LinkOptions = LinkHandlers & {
  readonly client: KubeClient;
  /** Shows who this agent is: a ServiceAccount token with our audience. */
  readonly token: () => string;
  /** Where what comes is kept; a snapshot comes as its difference. */
  readonly store: ConfigStore;
  /** A stream without a line for this long is taken for dead; the controller pings every 5 s. */
  readonly silenceMs?: number;
};

/** The stream from the leading controller, and the way back for reports. Finds the leader on its Lease, and refuses old ones. */
export class ControllerLink {
  readonly #options: LinkOptions;
  #peer: KubeClient | undefined;
  #epoch = 0;
  #connected = false;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** The leadership that was seen last. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Follows until the signal fires. Every fault is told and followed by another attempt. */
  async run(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        await this.#follow(signal, () => (failures = 0));
      } catch (error) {
        if (signal.aborted) return;
        this.#options.onTrouble('the stream from the controller ended, connecting again', error);
      } finally {
        this.#connected = false;
        await this.#peer?.[Symbol.asyncDispose]();
        this.#peer = undefined;
      }
      const pause = Math.min(100 * 2 ** failures, 5_000) * (0.5 + Math.random());
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, pause);
        signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
      });
    }
  }

  /** Ends the stream, which is made again at once. */
  dropConnections(): void {
    this.#peer?.dropConnections();
  }

  /** Sends a report to the leader. Throws when there is no stream: the next one sends it again. */
  async report(report: NodeReport): Promise<void> {
    if (!this.#peer || !this.#connected) throw new Error('no controller');
    await this.#peer.json('POST', '/v1/report', { body: report, timeoutMs: 10_000 });
  }

  async #follow(signal: AbortSignal, onLife: () => void): Promise<void> {
    const lease = await this.#options.client.get(
      { group: 'coordination.k8s.io', version: 'v1', plural: 'leases' },
      CONTROLLER_LEASE,
      SYSTEM_NAMESPACE,
    );
    const server = lease.metadata.annotations?.[LEADER_URL];
    if (server === undefined) throw new Error(`lease ${CONTROLLER_LEASE} has no annotation ${LEADER_URL}`);
    const ca = await this.#options.client.get(core('configmaps'), CA_CONFIGMAP, SYSTEM_NAMESPACE);
    const bundle = (ca['data'] as Record<string, unknown> | undefined)?.['ca.crt'];
    // Without one of ours, any certificate of the world's authorities would do.
    if (typeof bundle !== 'string' || !bundle.includes('BEGIN CERTIFICATE'))
      throw new Error(`ConfigMap ${CA_CONFIGMAP} has no certificates in ca.crt; the controller writes it`);
    if (!server.startsWith('https://')) throw new Error(`lease ${CONTROLLER_LEASE}: "${server}" is no https URL`);
    const access: KubeAccess = { server, ca: bundle, token: this.#options.token };
    this.#peer = new KubeClient(access);

    const silence = this.#options.silenceMs ?? 20_000;
    const cut = new AbortController();
    let watchdog = setTimeout(() => cut.abort(), silence);
    const next = emptyNodeConfig();
    let inSnapshot = true;
    let batch: StreamEvent[] = [];
    try {
      for await (const line of this.#peer.lines('/v1/config', {
        signal: AbortSignal.any([signal, cut.signal]),
        maxLine: MAX_LINE,
      })) {
        clearTimeout(watchdog);
        watchdog = setTimeout(() => cut.abort(), silence);
        const { event, problem } = readEvent(line);
        if (problem !== undefined)
          this.#options.onTrouble('an item of the controller cannot be read and is left out', new StreamError(problem));
        if (!event) continue;
        if (event.type === 'hello') {
          if (event.epoch < this.#epoch)
            throw new Error(`controller of epoch ${event.epoch} is an old leader: epoch ${this.#epoch} was seen`);
          this.#epoch = event.epoch;
        } else if (event.type === 'sync') {
          if (inSnapshot) batch = diffConfig(this.#options.store.config, next);
          inSnapshot = false;
          this.#connected = true;
          onLife();
          this.#options.store.apply(batch);
          batch = [];
          this.#options.onSync(event.revision);
        } else {
          if (batch.length >= MAX_BATCH) throw new StreamError('too much comes without a sync');
          if (inSnapshot) applyEvent(next, event);
          else batch.push(event);
        }
      }
    } finally {
      clearTimeout(watchdog);
    }
    throw new Error('the controller closed the stream');
  }
}
