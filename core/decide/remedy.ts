import { SERVICE_ACCOUNT } from '../../api/names.ts';
import type { Protocol } from '../../api/nodeconfig.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { keyOf, type Pod } from '../cluster/state.ts';
import type { End, PolicyFlow } from '../policy/evaluate.ts';
import type { Direction } from '../cluster/policy.ts';
import type { Step } from '../policy/walk.ts';

/** A change that would admit one connection on one side, and nothing that it need not. */
export type Remedy = {
  /** "NetworkPolicy x/deny" */
  readonly policy: string;
  /** A sentence that says what to do with `rule`. */
  readonly what: string;
  /** The rule to add, as it is written in the policy. */
  readonly rule: Readonly<Record<string, unknown>>;
};

/** What would have to be added where, so that this side accepts. Undefined when it does already. */
export function remedyFor(direction: Direction, whole: PolicyFlow, steps: readonly Step[]): Remedy | undefined {
  const flow = direction === 'egress' && whole.asSent ? { ...whole, ...whole.asSent } : whole;
  const step = steps.at(-1);
  if (!step || step.action !== 'Deny') return undefined;
  // Admission by an address is only for egress there.
  if (step.tier !== 'NetworkPolicy' && direction === 'ingress' && !(flow.seenAs ?? flow.from).pod) return undefined;
  const other = direction === 'ingress' ? (flow.seenAs ?? flow.from) : flow.to;
  const side = direction === 'ingress' ? 'from' : 'to';
  if (step.tier === 'NetworkPolicy') {
    const [first = ''] = step.policy.split(', ');
    return {
      policy: first,
      what: `add to spec.${direction} of ${first}`,
      rule: { [side]: [networkPolicyPeer(other)], ...networkPolicyPorts(flow) },
    };
  }
  return {
    policy: step.policy,
    what: `put before rule ${step.rule} in spec.${direction} of ${step.policy}`,
    rule: {
      name: ruleName(flow),
      action: 'Accept',
      [side]: [clusterPolicyPeer(other)],
      ...clusterPolicyProtocols(flow),
    },
  };
}

const networkPolicyPeer = ({ ip, pod }: End): object =>
  pod
    ? { namespaceSelector: namespaceOf(pod), podSelector: { matchLabels: ownLabels(pod) } }
    : { ipBlock: { cidr: hostPrefix(ip) } };

const clusterPolicyPeer = ({ ip, pod }: End): object =>
  pod
    ? { pods: { namespaceSelector: namespaceOf(pod), podSelector: { matchLabels: ownLabels(pod) } } }
    : { networks: [hostPrefix(ip)] };

/** What controllers add tells pods of one workload apart, or its versions: a rule by that would not last. */
const GENERATED: readonly string[] = [
  'pod-template-hash',
  'controller-revision-hash',
  'pod-template-generation',
  'statefulset.kubernetes.io/pod-name',
  'apps.kubernetes.io/pod-index',
  'batch.kubernetes.io/controller-uid',
  'batch.kubernetes.io/job-name',
  'controller-uid',
];

const ownLabels = ({ labels }: Pod): Record<string, string> =>
  Object.fromEntries(Object.entries(labels).filter(([name]) => name !== SERVICE_ACCOUNT && !GENERATED.includes(name)));

const namespaceOf = ({ namespace }: Pod): object => ({ matchLabels: { 'kubernetes.io/metadata.name': namespace } });

const hostPrefix = (ip: string): string => `${ip}/${familyOf(ip) === 4 ? 32 : 128}`;

/** A rule for ports accepts no ICMP: that takes one for all. */
const networkPolicyPorts = ({ protocol, port }: PolicyFlow): object =>
  protocol === 'ICMP' ? {} : { ports: [{ protocol, port }] };

const clusterPolicyProtocols = ({ protocol, port }: PolicyFlow): object =>
  protocol === 'ICMP' ? {} : { protocols: [{ [lower(protocol)]: { destinationPort: { number: port } } }] };

const lower = (protocol: Protocol): string => protocol.toLowerCase();

const ruleName = ({ from, to }: PolicyFlow): string =>
  `allow ${from.pod ? keyOf(from.pod) : from.ip} to ${to.pod ? keyOf(to.pod) : to.ip}`.slice(0, 100);
