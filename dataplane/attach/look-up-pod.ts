import { GROUP, NETWORKS, VERSION } from '../../api/names.ts';
import type { ClusterSettings } from '../../api/nodeconfig.ts';
import { assignPod } from '../../core/cluster/assign.ts';
import { readNamespace, readNetwork, readPod } from '../../core/cluster/read.ts';
import { readAddressRequest } from '../../core/ipam/requests.ts';
import { core, type KubeClient } from '../../lib/kube/client.ts';
import { isKube } from '../../lib/kube/error.ts';
import type { Order } from './order.ts';

/** What the API says of a pod that the controller has not told of: the rule is the same, core's. */
export async function lookUpPod(
  client: KubeClient,
  { namespace, name, uid }: { readonly namespace: string; readonly name: string; readonly uid: string },
  settings: ClusterSettings | undefined,
  onTrouble: (error: unknown) => void,
): Promise<Order | undefined> {
  try {
    const pod = readPod(await client.get(core('pods'), name, namespace, { timeoutMs: 2_000 }));
    if (uid !== '' && pod.uid !== uid) return undefined;
    if (pod.annotations[NETWORKS] !== undefined) return undefined; // more than one network: the controller's to tell
    const ns = readNamespace(await client.get(core('namespaces'), namespace, undefined, { timeoutMs: 2_000 }));
    const networks = await client.list({ group: GROUP, version: VERSION, plural: 'virtualnetworks' });
    const { ips, mac } = readAddressRequest(pod.annotations);
    const assignment = assignPod(
      {
        namespaces: new Map([[namespace, ns]]),
        networks: new Map(networks.items.map((o) => [`${o.metadata.namespace}/${o.metadata.name}`, readNetwork(o)])),
        attached: new Map(),
        ...(settings ? { settings } : {}),
      },
      pod,
    );
    return { assignment, ips, ...(mac === undefined ? {} : { mac }) };
  } catch (error) {
    if (isKube(error, 'NotFound')) return undefined;
    onTrouble(error);
    return undefined;
  }
}
