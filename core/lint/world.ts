import type { Policy } from '../cluster/policy.ts';
import type { PolicyIndex } from '../policy/index.ts';
import type { Profiles } from '../policy/profile.ts';
import { policiesOf } from '../view/policies.ts';
import type { View } from '../view/view.ts';
import { Companions } from './companions.ts';
import { Listeners } from './listeners.ts';
import { Operators } from './operators.ts';
import { Pods } from './pods.ts';
import { ServiceAddresses } from './service-addresses.ts';

/** What lint asks of a view, each worked out once. */
export type World = {
  readonly view: View;
  readonly policies: readonly Policy[];
  readonly index: PolicyIndex;
  readonly profiles: Profiles;
  /** Everything there is, a cluster; manifests are only a part. */
  readonly complete: boolean;
  readonly pods: Pods;
  readonly listeners: Listeners;
  readonly addresses: ServiceAddresses;
  readonly companions: Companions;
  readonly operators: Operators;
};

export function worldOf(view: View, others: readonly Readonly<Record<string, unknown>>[], complete: boolean): World {
  const { index, profiles } = policiesOf(view);
  const policies = [...(view.state.policies?.values() ?? [])];
  const pods = new Pods(index);
  return {
    view,
    policies,
    index,
    profiles,
    complete,
    pods,
    listeners: new Listeners(view, pods),
    addresses: new ServiceAddresses(view),
    companions: new Companions(policies),
    operators: new Operators(
      others,
      [...view.state.pods.values()].map((p) => p.labels),
    ),
  };
}
