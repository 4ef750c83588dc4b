import { exposedKey } from '../plan/gate-facts.ts';
import { hostPortTargets } from '../plan/host-ports.ts';
import type { PodLink } from '../plan/pod.ts';

/** A pod that must be wired: which network, and its link. `id` is unique on the node. */
export type WiredPod = {
  readonly id: string;
  /** "namespace/name" */
  readonly pod: string;
  readonly uid: string;
  readonly network: string;
  readonly vni: number;
  readonly link: PodLink;
};

/** The pods that are wired on this node, and which of them has an address. */
export class WiredPods {
  readonly #pods = new Map<string, WiredPod>();
  readonly #at = new Map<string, WiredPod>();
  readonly #expected = new Map<string, WiredPod>();

  /** The pod is about to be wired: its policies are made already. */
  expect(pod: WiredPod): void {
    this.#expected.set(pod.id, pod);
  }

  add(pod: WiredPod): void {
    this.#expected.delete(pod.id);
    this.#pods.set(pod.id, pod);
    for (const ip of pod.link.ips) this.#at.set(ip, pod);
  }

  remove(id: string): WiredPod | undefined {
    const pod = this.#pods.get(id);
    this.#pods.delete(id);
    this.#expected.delete(id);
    for (const ip of pod?.link.ips ?? []) if (this.#at.get(ip) === pod) this.#at.delete(ip);
    return pod;
  }

  at(ip: string): WiredPod | undefined {
    return this.#at.get(ip);
  }

  /** @param vni pods of a network that was deleted and made again are on the former one until they end */
  of(network: string, vni?: number): WiredPod[] {
    return onNetwork(this.#pods.values(), network, vni);
  }

  /** The same, with those that are about to be wired. */
  ofAll(network: string, vni?: number): WiredPod[] {
    return onNetwork([...this.#pods.values(), ...this.#expected.values()], network, vni);
  }

  /** Networks that pods are on, by their VNIs. */
  get vnis(): Set<number> {
    return new Set([...this.#pods.values()].map((p) => p.vni));
  }

  /** Where host ports lead. */
  hostPorts(): ReturnType<typeof hostPortTargets> {
    return hostPortTargets([...this.#pods.values()].map((p) => p.link));
  }

  /** Ports of a network's pods that host ports lead to. */
  mappedPorts(network: string): Set<string> {
    return new Set(
      this.of(network).flatMap(({ link: { ips, ports = [] } }) =>
        ips.flatMap((ip) => ports.map((p) => exposedKey(ip, p.protocol, p.containerPort))),
      ),
    );
  }
}

const onNetwork = (pods: Iterable<WiredPod>, network: string, vni: number | undefined): WiredPod[] =>
  [...pods].filter((p) => p.network === network && (vni === undefined || p.vni === vni));
