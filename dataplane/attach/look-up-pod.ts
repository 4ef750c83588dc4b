import { DEFAULT_NETWORK_NAME, FLAT_NETWORK, GROUP, NETWORK, NETWORKS, readName, VERSION } from '../../api/names.ts';
import type { ClusterSettings } from '../../api/nodeconfig.ts';
import { assignPod } from '../../core/networks/assign.ts';
import { readNamespace, readNetwork, readPod } from '../../core/read/objects.ts';
import type { Network } from '../../core/cluster/state.ts';
import { readAddressRequest } from '../../core/read/address-requests.ts';
import { core, type KubeClient } from '../../lib/kube/client.ts';
import { isKube } from '../../lib/kube/error.ts';
import type { Order } from './order.ts';

/** What the API says of a pod that the controller has not sent yet: the rule is the same, core's. */
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
    const named = [readName(NETWORK, pod.annotations).value, readName(NETWORK, ns.annotations).value];
    const networks = await networksNamed(client, namespace, [...named, DEFAULT_NETWORK_NAME]);
    const { ips, mac } = readAddressRequest(pod.annotations);
    const assignment = assignPod(
      {
        namespaces: new Map([[namespace, ns]]),
        networks,
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

/** Only those that the pod or its namespace may mean, one by one: an agent's token does not list networks. */
async function networksNamed(
  client: KubeClient,
  namespace: string,
  values: readonly (string | undefined)[],
): Promise<Map<string, Network>> {
  const found = new Map<string, Network>();
  for (const value of new Set(values)) {
    const [owner = '', name = ''] = value?.includes('/') ? value.split('/') : [namespace, value];
    if (value === undefined || value === FLAT_NETWORK || !/^[a-z0-9.-]+$/.test(owner) || !/^[a-z0-9.-]+$/.test(name))
      continue;
    try {
      const resource = { group: GROUP, version: VERSION, plural: 'virtualnetworks' };
      found.set(`${owner}/${name}`, readNetwork(await client.get(resource, name, owner, { timeoutMs: 2_000 })));
    } catch (error) {
      if (!isKube(error, 'NotFound')) throw error;
    }
  }
  return found;
}
