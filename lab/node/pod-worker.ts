import { systemClock } from '../../lib/reconcile/clock.ts';
import { core, type KubeClient, type KubeObject, timestamp } from '../../lib/kube/client.ts';
import { isKube } from '../../lib/kube/error.ts';
import type { EventRecorder } from '../../lib/kube/events.ts';
import { arr, at, type Json, num, obj, str } from '../apiserver/model/path.ts';
import { type Cni, CniCallError } from './cni.ts';
import { type DnsData, startDns } from './dns.ts';
import { type EchoServer, startEcho } from './echo.ts';
import { isAssumed, runProbe } from './probe.ts';
import { createSandbox, type PodSandbox, removeSandbox } from './sandbox.ts';

/** What a pod's life needs of the node. */
export type NodeContext = {
  readonly node: string;
  readonly nodeIps: readonly string[];
  readonly client: KubeClient;
  readonly cni: Cni;
  readonly events: EventRecorder;
  readonly dns: DnsData;
  readonly tls: { readonly cert: string; readonly key: string };
  /** Tells something once per node, however many pods it is true of. */
  readonly once: (key: string, tell: () => void) => void;
  readonly onSandbox: (uid: string, sandbox: PodSandbox | undefined) => void;
};

type ContainerState = { readonly spec: Json; started: boolean; ready: boolean; restarts: number; startedAt: string };

/** One pod on this node, from its sandbox to its end. */
export class PodWorker {
  readonly #node: NodeContext;
  #pod: KubeObject;
  readonly #stop = new AbortController();
  readonly #life: Promise<void>;
  #sandbox: PodSandbox | undefined;
  #servers: EchoServer[] = [];
  #containers: ContainerState[] = [];
  #phase = 'Pending';
  #posts: Promise<void> = Promise.resolve();
  #ending: Promise<void> | undefined;

  constructor(context: NodeContext, pod: KubeObject) {
    this.#node = context;
    this.#pod = pod;
    this.#life = this.#live();
  }

  /** A new version of the object. */
  update(pod: KubeObject): void {
    this.#pod = pod;
  }

  /** Stops it, detaches it and tells the API that it is gone. May be called again: it is done once. */
  end({ tell = true }: { readonly tell?: boolean } = {}): Promise<void> {
    this.#ending ??= this.#end(tell);
    return this.#ending;
  }

  get #regarding() {
    const { namespace = '', name, uid = '' } = this.#pod.metadata;
    return { apiVersion: 'v1', kind: 'Pod', namespace, name, uid };
  }

  async #live(): Promise<void> {
    const host = at(this.#pod, 'spec', 'hostNetwork') === true;
    if (!host) await this.#attach();
    if (this.#stop.signal.aborted) return;
    this.#containers = arr(at(this.#pod, 'spec', 'containers')).map((spec) => ({
      spec,
      started: false,
      ready: false,
      restarts: 0,
      startedAt: timestamp(),
    }));
    this.#serve(host);
    this.#phase = 'Running';
    const finishes = str(at(this.#pod, 'spec', 'restartPolicy')) !== 'Always';
    if (finishes) {
      await this.#postStatus();
      await systemClock.sleep(200, this.#stop.signal);
      this.#phase = 'Succeeded';
      this.#closeServers();
      await this.#postStatus();
      if (this.#sandbox) await this.#detach(this.#sandbox);
      return;
    }
    const probing = this.#containers.map((c) => this.#probe(c));
    await this.#postStatus();
    await Promise.all(probing);
  }

  /** Until the plugin gives it a network: what is missing may come. */
  async #attach(): Promise<void> {
    for (let failures = 0; !this.#stop.signal.aborted; failures++) {
      try {
        this.#sandbox = await createSandbox(this.#node.cni, this.#pod);
        this.#node.onSandbox(this.#pod.metadata.uid ?? '', this.#sandbox);
        return;
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        void this.#node.events.record(
          this.#regarding,
          'Warning',
          'FailedCreatePodSandBox',
          `Failed to create pod sandbox: ${message}`,
        );
        // The agent waits for what it knows to be coming; a second is enough between two questions.
        const pause =
          error instanceof CniCallError ? Math.min(500 * 1.5 ** failures, 5_000) * (0.8 + Math.random() * 0.4) : 2_000;
        await systemClock.sleep(pause, this.#stop.signal);
      }
    }
  }

  #serve(host: boolean): void {
    const netns = host ? '/proc/self/ns/net' : (this.#sandbox?.sandbox.netns ?? '');
    const { namespace = '', name, labels } = this.#pod.metadata;
    const isDns = labels?.['k8s-app'] === 'kube-dns' && namespace === 'kube-system';
    if (isDns) this.#servers.push(startDns(netns, this.#node.dns));
    const ports = new Map<string, { protocol: 'TCP' | 'UDP'; port: number }>();
    for (const p of this.#containers.flatMap((c) => arr(c.spec['ports']))) {
      const protocol = str(p['protocol']);
      const port = num(p['containerPort']);
      if (protocol === 'TCP' || protocol === 'UDP') ports.set(`${protocol}/${port}`, { protocol, port });
      else
        this.#node.once(
          `protocol ${protocol}`,
          () =>
            void this.#node.events.record(
              this.#regarding,
              'Warning',
              'PortNotServed',
              `the lab answers on TCP and UDP ports; ${protocol} port ${port} stays silent`,
            ),
        );
    }
    for (const p of ports.values()) {
      if (isDns && p.port === 53) continue;
      try {
        this.#servers.push(startEcho(netns, p, { namespace, name, node: this.#node.node }, this.#node.tls));
      } catch (error) {
        void this.#node.events.record(
          this.#regarding,
          'Warning',
          'PortNotServed',
          `${p.protocol} port ${p.port}: ${(error as Error).message}`,
        );
      }
    }
  }

  /** Startup, then readiness and liveness side by side. */
  async #probe(c: ContainerState): Promise<void> {
    const { startupProbe, readinessProbe, livenessProbe } = c.spec;
    for (const p of [startupProbe, readinessProbe, livenessProbe]) {
      if (p !== undefined && isAssumed(obj(p))) {
        this.#node.once(
          'exec',
          () =>
            void this.#node.events.record(
              this.#regarding,
              'Normal',
              'ExecProbeAssumed',
              'the lab runs no containers: exec probes and hooks count as passed',
            ),
        );
      }
    }
    if (startupProbe !== undefined) await this.#untilPassed(obj(startupProbe), c);
    c.started = true;
    const tasks: Promise<void>[] = [];
    if (readinessProbe === undefined) c.ready = true;
    else tasks.push(this.#keepProbing(obj(readinessProbe), c, 'Readiness', (passed) => this.#setReady(c, passed)));
    if (livenessProbe !== undefined) {
      tasks.push(
        this.#keepProbing(obj(livenessProbe), c, 'Liveness', (passed) => {
          if (!passed) c.restarts++;
          return passed ? Promise.resolve() : this.#postStatus();
        }),
      );
    }
    if (readinessProbe === undefined && startupProbe !== undefined) await this.#postStatus();
    await Promise.all(tasks);
  }

  async #untilPassed(probe: Json, c: ContainerState): Promise<void> {
    await systemClock.sleep(num(probe['initialDelaySeconds']) * 1000, this.#stop.signal);
    while (!this.#stop.signal.aborted) {
      const failure = await runProbe(probe, c.spec, this.#ip);
      if (failure === undefined) return;
      this.#tellUnhealthy('Startup', failure);
      await systemClock.sleep((num(probe['periodSeconds']) || 10) * 1000, this.#stop.signal);
    }
  }

  async #keepProbing(
    probe: Json,
    c: ContainerState,
    kind: string,
    onTurn: (passed: boolean) => Promise<void>,
  ): Promise<void> {
    const period = (num(probe['periodSeconds']) || 10) * 1000;
    const failureThreshold = num(probe['failureThreshold']) || 3;
    const successThreshold = num(probe['successThreshold']) || 1;
    let passes = 0;
    let failures = 0;
    // No program needs time to start here, so the first look is not delayed by as much as a manifest allows.
    await systemClock.sleep(Math.min(num(probe['initialDelaySeconds']) * 1000, 200), this.#stop.signal);
    while (!this.#stop.signal.aborted) {
      const failure = await runProbe(probe, c.spec, this.#ip);
      if (this.#stop.signal.aborted) return;
      if (failure === undefined) {
        failures = 0;
        if (++passes === successThreshold) await onTurn(true);
      } else {
        passes = 0;
        this.#tellUnhealthy(kind, failure);
        if (++failures === failureThreshold) await onTurn(false);
      }
      // Until it has passed once, look more often than the manifest asks: the lab's pods are quick.
      await systemClock.sleep(passes === 0 && !c.ready ? Math.min(period, 1000) : period, this.#stop.signal);
    }
  }

  #tellUnhealthy(kind: string, failure: string): void {
    void this.#node.events.record(this.#regarding, 'Warning', 'Unhealthy', `${kind} probe failed: ${failure}`);
  }

  async #setReady(c: ContainerState, ready: boolean): Promise<void> {
    if (c.ready === ready) return;
    c.ready = ready;
    await this.#postStatus();
  }

  get #ip(): string {
    return this.#ips[0] ?? '';
  }

  get #ips(): readonly string[] {
    return this.#sandbox?.ips ?? this.#node.nodeIps;
  }

  /** Posts come one after the other, each with the state of its own moment: the last one told is the latest. */
  #postStatus(): Promise<void> {
    this.#posts = this.#posts.then(() => this.#sendStatus());
    return this.#posts;
  }

  async #sendStatus(): Promise<void> {
    const now = timestamp();
    const done = this.#phase === 'Succeeded';
    const ready = !done && this.#containers.every((c) => c.ready);
    const condition = (type: string, is: boolean) => ({ type, status: is ? 'True' : 'False', lastTransitionTime: now });
    const scheduled = arr(at(this.#pod, 'status', 'conditions')).filter((c) => c['type'] === 'PodScheduled');
    const status = {
      phase: this.#phase,
      hostIP: this.#node.nodeIps[0],
      hostIPs: this.#node.nodeIps.map((ip) => ({ ip })),
      podIP: this.#ip,
      podIPs: this.#ips.map((ip) => ({ ip })),
      startTime: this.#containers[0]?.startedAt ?? now,
      conditions: [
        ...scheduled,
        condition('Initialized', true),
        condition('ContainersReady', ready),
        condition('Ready', ready),
      ],
      containerStatuses: this.#containers.map((c) => ({
        name: c.spec['name'],
        image: c.spec['image'],
        imageID: '',
        ready: c.ready && !done,
        started: c.started,
        restartCount: c.restarts,
        state: done ? { terminated: { exitCode: 0, reason: 'Completed' } } : { running: { startedAt: c.startedAt } },
      })),
    };
    const { name, namespace } = this.#pod.metadata;
    // The API server may be away for a moment; a pod is not, so this is tried until it is told.
    for (let failures = 0; failures < 20 && !this.#ending; failures++) {
      try {
        await this.#node.client.patch(core('pods'), name, namespace, { status }, { subresource: 'status' });
        return;
      } catch (error) {
        if (isKube(error, 'NotFound')) return;
        await systemClock.sleep(Math.min(100 * 2 ** failures, 2_000), this.#stop.signal);
      }
    }
  }

  async #end(tell: boolean): Promise<void> {
    this.#stop.abort();
    this.#closeServers();
    await this.#life;
    if (this.#sandbox) await this.#detach(this.#sandbox);
    if (!tell) return;
    const { name, namespace, uid } = this.#pod.metadata;
    for (let failures = 0; failures < 20; failures++) {
      try {
        await this.#node.client.delete(core('pods'), name, namespace, {
          gracePeriodSeconds: 0,
          preconditions: { uid },
        });
        return;
      } catch (error) {
        if (isKube(error, 'NotFound') || isKube(error, 'Conflict')) return;
        await systemClock.sleep(Math.min(100 * 2 ** failures, 2_000));
      }
    }
  }

  async #detach(sandbox: PodSandbox): Promise<void> {
    for (let failures = 0; failures < 60; failures++) {
      try {
        await removeSandbox(this.#node.cni, sandbox);
        break;
      } catch {
        await systemClock.sleep(Math.min(200 * 2 ** failures, 2_000)); // the agent is away: DEL is owed until it is done
      }
    }
    this.#sandbox = undefined;
    this.#node.onSandbox(this.#pod.metadata.uid ?? '', undefined);
  }

  #closeServers(): void {
    for (const s of this.#servers.splice(0)) s.close();
  }
}
