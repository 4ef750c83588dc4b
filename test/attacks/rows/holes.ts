import type { Row } from './row.ts';

/** Attacks on this project that worked once, by their numbers: each of these tests failed before. */
export const HOLES: readonly Row[] = [
  {
    row: 'V1',
    what: 'VXLAN is taken from anyone, by any address of a node',
    shownBy: [
      'test/attacks/every-address.test.ts › of any number, by any address: from the other node to the underlay address alone',
      'test/attacks/underlay-door.test.ts › a plain UDP socket, to every address of the node, IPv%s inside',
      'test/attacks/underlay-door.test.ts › raw frames, whole and in fragments',
      'test/attacks/underlay-door.test.ts › a Service, a node port: neither pod nor stranger gets through one node to the next',
      'test/attacks/underlay-door.test.ts › an instance takes from the overlay only what belongs beyond it (IPv%s)',
      'test/attacks/underlay-door-ipv6.test.ts › VXLAN comes in by no address of the node',
      'test/attacks/underlay-door-ipv6.test.ts › in fragments and behind extension headers: from a node it comes in, from pods and neighbours it does not',
      'test/kind/attacks.test.ts › reaches no pod, by any address of its node (IPv%s)',
    ],
  },
  {
    row: 'V2',
    what: 'a subnet of a tenant takes addresses of the outside, of the API server, of nodes',
    shownBy: [
      'test/attacks/subnets.test.ts › the Internet in large pieces, with no pod at all',
      'test/attacks/subnets.test.ts › the address of a host outside: only where an administrator gives it away',
      'test/attacks/subnets.test.ts › the API server, where the administrator’s pool holds it: the nodes keep it',
      'test/attacks/subnets.test.ts › a node that gets an address or a route in a network',
      'core/networks/grants.test.ts › a subnet may be had exactly when one pool of its namespace covers it',
      'test/attacks/refused-at-admission.test.ts › networks',
      'test/kind/attacks-api.test.ts › subnets, egress addresses and external addresses beyond the administrator’s pools',
    ],
  },
  {
    row: 'V3',
    what: 'a fixed egress address steals an address of the link',
    shownBy: [
      'test/attacks/egress-addresses.test.ts › without a pool there are none; the network goes on, and nothing leaves',
      'test/attacks/egress-addresses.test.ts › the router, from a pool that holds it: it answers, so it is not taken',
      'test/attacks/egress-addresses.test.ts › a node’s own address, known to the API or not',
      'test/attacks/egress-addresses.test.ts › a host that has it keeps it',
    ],
  },
  {
    row: 'V4',
    what: 'one request or one pod holds up the controller',
    shownBy: [
      'test/attacks/controller.test.ts › odd and huge bodies are refused, and others are answered meanwhile',
      'test/work.test.ts › the count sees what is quadratic',
      'test/hostile.test.ts › never crash the controller, and change nothing for others',
      'controller/http/server.test.ts › a body beyond 3 MB is refused',
    ],
  },
  {
    row: 'V5',
    what: 'one object of a tenant ties up all agents',
    shownBy: [
      'test/attacks/budgets.test.ts › policies as large as they can be stored: the pods that they select are closed, and nobody else',
      'test/attacks/budgets.test.ts › pods with annotations as long as they can be stored',
      'test/attacks/budgets.test.ts › as many policies as the budgets allow, and more',
      'test/budgets.test.ts › networkOpeningElements: what the oldest pods of a network have opened stays open',
      'test/attacks/many-networks.test.ts › networks on a node: all work, all are apart',
    ],
  },
  {
    row: 'V6',
    what: 'external addresses of one network capture what others send to the outside (CVE-2020-8554)',
    shownBy: [
      "test/attacks/node-addresses.test.ts › another network's outer addresses take nothing of what leaves",
      'test/attacks/hand-written-services.test.ts › of a host outside: its own network goes on reaching that host',
      'test/attacks/refused-at-admission.test.ts › external addresses: without a list none',
    ],
  },
  {
    row: 'V7',
    what: 'the token of an agent speaks for pods and networks of other nodes',
    shownBy: [
      'test/attacks/controller.test.ts › no traffic of a network that has nothing on n1 is drawn there, and nothing of it is told',
      'test/attacks/controller.test.ts › an ADD of another node at that moment goes to the network that the API says',
      'core/reports/believe.test.ts › random reports of n1 change nothing of what n2 is told but what is n1 own',
      'test/kind/attacks-api.test.ts › the token of an agent, at the API server and at the controller',
    ],
  },
  {
    row: 'V8',
    what: 'one pod fills the table of connections',
    shownBy: [
      'test/attacks/shares.test.ts › 20 000 flows of an isolated pod to DNS: refused beyond its share, everywhere (IPv%s)',
      'test/attacks/shares.test.ts › 20 000 flows of a flat pod to a pod of another node (IPv%s)',
      'test/attacks/shares.test.ts › one that goes on slowly is counted, and kept out when it has its share',
      'test/attacks/shares.test.ts › a pod that is refused all the time does not hide that another is (IPv%s)',
    ],
  },
  {
    row: 'V9',
    what: 'addresses of pods and probes are believed when they come by the underlay',
    shownBy: [
      'test/attacks/underlay-door.test.ts › addresses of pods, probes and nodes never come by the underlay (IPv%s)',
      'test/attacks/underlay-door.test.ts › the overlay of the flat network brings no local source, and none of this node (IPv%s)',
      'test/attacks/pod-as-root.test.ts › a neighbour on the underlay answers in the name of the resolver: to nobody (IPv%s)',
      'test/attacks/underlay-door.test.ts › a neighbour that writes frames, with addresses of pods, Services and itself as the outer source',
      'test/kind/attacks.test.ts › a neighbour on the network of the nodes, as a pod, a probe or a node port (IPv%s)',
    ],
  },
  {
    row: 'V10',
    what: 'endpoints by hand lead an allowed Service anywhere (CVE-2021-25740)',
    shownBy: [
      'test/attacks/hand-written-services.test.ts › lead to no node, no host outside, no other network; to a flat pod they do',
      'test/attacks/hand-written-services.test.ts › an address that the administrator lists counts, and a node never does',
      'core/services/endpoint-address.test.ts › whatever is written, an allow list never leads to a node, another network’s pod, or the outside',
    ],
  },
  {
    row: 'V11',
    what: '/admit tells any caller what there is in other namespaces',
    shownBy: [
      'test/attacks/controller.test.ts › a pod that asks /admit learns nothing: what is there and what is not read alike',
      'test/attacks/controller.test.ts › the API server is answered by the state of the cluster, and names nobody',
      'test/kind/attacks-api.test.ts › without a token: /admit tells a pod nothing, and figures and streams are refused',
    ],
  },
  {
    row: 'V12',
    what: 'connections, half-sent requests and junk tokens without limit',
    shownBy: [
      'test/attacks/controller.test.ts › half-sent requests, handshakes and headers are closed',
      'test/attacks/controller.test.ts › a flood of junk tokens is cut off, and the agent behind the same address goes on',
      "test/attacks/controller.test.ts › the agent's own port: half-sent requests are closed, and what is whole is answered",
      'controller/http/server.test.ts › without a token nothing of the body is read',
      'lib/kube/token-answers.test.ts › a flood of junk from one address asks the API server a few times, and others are served',
    ],
  },
  {
    row: 'V13',
    what: 'a line of JSON on the socket of the runtime ends the agent',
    shownBy: [
      'test/attacks/controller.test.ts › a line on the socket of the runtime ends no agent',
      'dataplane/cniserver/server.test.ts › any bytes, in any pieces',
      'dataplane/cniserver/server.test.ts › a line without end is cut, and costs no more than its limit',
    ],
  },
  {
    row: 'V14',
    what: 'smaller ones: neighbours by ARP, escape sequences, lists of odd form, ceilings for tenants, rights of agent and controller',
    shownBy: [
      'test/attacks/shares.test.ts › ARP and neighbour discovery of flat pods make no entry (rp_filter %s)',
      'test/attacks/shares.test.ts › a pod that looks for a thousand hosts on the link of its node finds some (IPv%s)',
      'cli/terminal/output.test.ts › nothing of what users wrote moves or colours anything',
      'lib/manifests/items.test.ts › no document breaks it',
      'test/attacks/limits.test.ts › what was asked for before there was a limit is taken back',
      'test/kind/attacks-api.test.ts › the token of an agent, at the API server and at the controller',
    ],
  },
];
