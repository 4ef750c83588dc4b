import type { Manifest } from '../../lib/manifests/items.ts';
import { KubectlError } from '../target/kubectl-target.ts';
import type { ClusterTarget } from '../target/target.ts';

/** Kinds of other projects, and of other versions, that say something about connections: by plural and group. */
const KINDS =
  /networkpolicies\.|^egressfirewalls\.k8s\.ovn\.org$|^authorizationpolicies\.(security\.istio\.io|policy\.linkerd\.io)$/;
const OWN = ['clusternetworkpolicies.policy.networking.k8s.io'];

/** What of a cluster's policies Bulkhead does not enforce, or why that cannot be told. */
export async function foreignPolicies(
  target: Pick<ClusterTarget, 'kubectl'>,
): Promise<{ readonly objects: readonly Manifest[]; readonly problem?: string }> {
  try {
    const crds = await target.kubectl(['get', 'customresourcedefinitions', '-o', 'name']);
    const names = crds
      .split('\n')
      .map((line) => line.slice(line.indexOf('/') + 1).trim())
      .filter((name) => KINDS.test(name) && !OWN.includes(name));
    const lists = await Promise.all(
      names.map(async (name) => {
        const list = JSON.parse(await target.kubectl(['get', name, '-A', '-o', 'json'])) as { items: Manifest[] };
        return list.items;
      }),
    );
    return { objects: lists.flat() };
  } catch (error) {
    if (!(error instanceof KubectlError)) throw error;
    return { objects: [], problem: `cannot tell whether there are policies of other kinds: ${error.message}` };
  }
}
