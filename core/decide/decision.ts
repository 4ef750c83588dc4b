import type { Protocol } from '../../api/nodeconfig.ts';
import type { Pod, Service } from '../cluster/state.ts';
import type { PolicyFlow, PolicyVerdict } from '../policy/evaluate.ts';

/** What happens to a new connection: it is made; it is refused at once; nothing ever answers. */
export type Verdict = 'open' | 'rejected' | 'closed';

/** Where a connection goes to, as the sender writes it. `port` is 0 for ICMP. */
export type Target = { readonly address: string; readonly port: number; readonly protocol: Protocol | 'ICMP' };

/** What the address turned out to be. */
export type Destination =
  | { readonly kind: 'Pod'; readonly pod: Pod; readonly network: string }
  | { readonly kind: 'Service'; readonly service: Service; readonly network: string }
  /** `internal`: by an address of its pod CIDR, where no network's instance translates node ports. */
  | { readonly kind: 'Node'; readonly node: string; readonly internal?: true }
  | { readonly kind: 'Cluster'; readonly what: string }
  | { readonly kind: 'External' };

export type Decision = {
  readonly verdict: Verdict;
  /** One sentence that names the object that decided. */
  readonly why: string;
  readonly destination: Destination;
  /** Which gate or map said so; undefined when everything let it pass. */
  readonly decidedBy:
    | 'service map'
    | 'egress gate'
    | 'ingress gate'
    | 'kube-proxy'
    | 'node port gate'
    | 'overlay'
    | 'egress policy'
    | 'ingress policy'
    | 'no route'
    | undefined;
  /** What the networks say, where a policy decides. */
  readonly networks?: { readonly verdict: Verdict; readonly why: string };
  /** What policies say, of each end that a packet may reach; empty when it is stopped before any is asked. */
  readonly policies: readonly PolicyAnswer[];
};

/** One place that the connection may end up at, behind the translation of Services. */
export type PolicyAnswer = { readonly flow: PolicyFlow } & PolicyVerdict;
