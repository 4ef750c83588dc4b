import { core, type KubeClient, type KubeObject, type Resource } from '../../lib/kube/client.ts';
import { Reflector } from '../../lib/kube/reflector.ts';
import { Runner } from '../../lib/reconcile/runner.ts';
import { runKubelet } from './kubelet.ts';
import { Proxy } from './proxy.ts';

export type NodeOptions = {
  readonly client: KubeClient;
  readonly node: string;
  readonly nodeIps: readonly string[];
  readonly podCIDRs: readonly string[];
  readonly cniConfDir: string;
  readonly cniBinDir: string;
  readonly log: (message: string, fields?: object) => void;
};

/** A node of a lab: kubelet, kube-proxy and DNS in one process, over one copy of the cluster's Services. */
export async function runNode(o: NodeOptions, signal: AbortSignal): Promise<void> {
  const { client, log } = o;
  const services = new Map<string, KubeObject>();
  const slices = new Map<string, KubeObject>();
  const pods = new Map<string, KubeObject>();
  const nodes = new Map<string, KubeObject>();
  const zone = (): string => nodes.get(o.node)?.metadata.labels?.['topology.kubernetes.io/zone'] ?? '';
  using proxy = new Proxy();
  await using runner = new Runner(
    () =>
      proxy.apply({
        place: { node: o.node, zone: zone() },
        podCIDRs: o.podCIDRs,
        services: services.values(),
        slices: slices.values(),
      }),
    {
      minIntervalMs: 30,
      retryMs: 300,
      onError: (error) => log('kube-proxy', { err: String(error) }),
    },
  ).start();
  const reflect = (resource: Resource, into: Map<string, KubeObject>, onChange: () => void): Reflector<KubeObject> =>
    new Reflector<KubeObject>({
      client,
      resource,
      read: (object) => object,
      onReplace: (items) => {
        into.clear();
        for (const [k, v] of items) into.set(k, v);
        onChange();
      },
      onEvent: (key, value) => {
        if (value) into.set(key, value);
        else into.delete(key);
        onChange();
      },
      onTrouble: ({ what, error }) => log(`${what} failed`, { err: String(error) }),
    }).start();
  const changed = (): void => runner.request();
  await using a = reflect(core('services'), services, changed);
  await using b = reflect({ group: 'discovery.k8s.io', version: 'v1', plural: 'endpointslices' }, slices, changed);
  await using c = reflect(core('pods'), pods, () => undefined);
  let last = zone();
  await using d = reflect(core('nodes'), nodes, () => {
    if (zone() !== last) changed();
    last = zone();
  });
  void [a, b, c, d];
  await runKubelet({ ...o, dns: { services, slices, pods } }, signal);
}
