import type { Row } from './row.ts';

/** Reports about other pod networks, replayed here: what each became when something changed hands. */
export const REPORTS: readonly Row[] = [
  {
    row: 'N1',
    what: 'plugins#1190: a UDP host port goes on to the pod that is gone',
    shownBy: [
      'test/system/change-hands.test.ts › a host port: nobody, a pod, another pod, a process of the node, a pod again (%s, IPv%s)',
    ],
  },
  {
    row: 'N2',
    what: 'ovn-kubernetes#1074: connections of a deleted pod are left to the next owner of its address',
    shownBy: [
      'test/system/change-hands.test.ts › an address that goes to a pod behind a policy: old connections do not go past it',
      'test/system/change-hands.test.ts › fixed addresses that go to a pod behind a policy, in both families',
    ],
  },
  {
    row: 'N3',
    what: 'ovn-kubernetes#3585: every address of a node is the node',
    shownBy: [
      'test/attacks/every-address.test.ts › what packets do is what the model says',
      'test/attacks/node-addresses.test.ts › node %s is closed to networks by each of its addresses, open to those who may',
      'test/attacks/node-addresses.test.ts › nodePortAccess External: closed to the flat network by each address, open to the outside',
      'test/kind/attacks.test.ts › a pod with a way out reaches none of them, a flat pod does',
    ],
  },
  {
    row: 'N4',
    what: 'cilium#31066: the address of a node changes',
    shownBy: [
      'test/system/renumbering.test.ts › its address: overlays are made again on the new one, also when the agent was away',
      'test/system/renumbering.test.ts › its address in the API is on no device: the condition says so, and not that all is well',
    ],
  },
  {
    row: 'N5',
    what: 'rke2#11170, calico#8135: a node comes back with another pod CIDR',
    shownBy: [
      'test/system/pod-cidrs.test.ts › new pods get addresses of the present CIDRs, older ones are named, and the former range is its heir’s',
    ],
  },
  {
    row: 'N6',
    what: 'kubernetes#106497: internalTrafficPolicy Local while the local endpoint ends',
    shownBy: ['test/system/service-policies.test.ts › internalTrafficPolicy Local while the local endpoint ends'],
  },
  {
    row: 'N7',
    what: 'kubernetes#100313: traffic policy and zone hints together',
    shownBy: [
      'test/system/service-policies.test.ts › hints of zones do not count for internalTrafficPolicy Local, and count for Cluster',
      'test/service-table.test.ts › controller, agent and the proxy of the lab, by generation (IPv%s)',
    ],
  },
  // The list has no number 8.
  {
    row: 'N9',
    what: 'cilium#44060: trafficDistribution PreferSameNode',
    shownBy: [
      'test/system/service-policies.test.ts › hints of nodes go before hints of zones (trafficDistribution PreferSameNode)',
    ],
  },
  {
    row: 'N10',
    what: 'kube-ovn#1436, #4304: a fixed address moves',
    shownBy: ['test/system/renumbering.test.ts › goes to a network of another name on the same node'],
  },
  {
    row: 'N11',
    what: 'a host port of an isolated pod works late',
    shownBy: ['test/system/change-hands.test.ts › a host port leads to its pod as soon as the pod runs (%s)'],
  },
  {
    row: 'N12',
    what: 'cilium#27096: session affinity over a restart of the agent',
    shownBy: [
      'test/system/services.test.ts › with affinity each client stays where it is, and the memory ends with the backend',
    ],
  },
  {
    row: 'beside 1',
    what: 'lab exec with --',
    shownBy: ['test/system/lab-commands.test.ts › with and without --, --name on either side'],
  },
  {
    row: 'beside 2',
    what: 'the lab’s API server ends when a watch does',
    shownBy: [
      'lab/apiserver/watch.test.ts › whose time is over while its client does not read',
      'lab/apiserver/watch.test.ts › any order of writing, ending and leaving: no line behind the end, told once that it is over',
    ],
  },
  {
    row: 'beside 3',
    what: 'the lab takes kind: List',
    shownBy: ['test/system/lab-commands.test.ts › kubectl %s -f, and delete'],
  },
];
