import type { Row } from './row.ts';

/** Attacks that never worked, and must not begin to. */
export const REFUSED: readonly Row[] = [
  {
    row: 'R1',
    what: 'forged IPv4 and IPv6 sources, to the own and to other networks',
    shownBy: [
      'test/attacks/refused.test.ts › forged sources, to another network',
      'test/attacks/refused.test.ts › the source of the victim itself',
      'test/system/isolation.test.ts › a forged source address goes nowhere, the true one does (IPv%s)',
    ],
  },
  {
    row: 'R2',
    what: 'forged hardware addresses',
    shownBy: [
      'test/attacks/refused.test.ts › other hardware addresses',
      'test/system/isolation.test.ts › frames to another gateway MAC, with addresses of other tenants inside, are dropped',
    ],
  },
  {
    row: 'R3',
    what: 'ARP as the gateway, a mate, another tenant',
    shownBy: ['test/system/isolation.test.ts › forged ARP and neighbour advertisements change nothing at the node'],
  },
  {
    row: 'R4',
    what: 'router advertisements, neighbour advertisements, redirects',
    shownBy: [
      'test/attacks/refused.test.ts › router advertisements, redirects, neighbour advertisements for others',
      'test/attacks/refused.test.ts › IPv4 redirects and router advertisements',
    ],
  },
  { row: 'R5', what: 'VLAN tags', shownBy: ['test/attacks/refused.test.ts › VLAN tags, single and double'] },
  {
    row: 'R6',
    what: 'source routes, router alert, extension headers',
    shownBy: [
      'test/attacks/refused.test.ts › source routes and other IPv4 options',
      'test/attacks/refused.test.ts › routing headers and other IPv6 extension headers',
      'test/attacks/refused.test.ts › hop-by-hop and destination options, one and many',
    ],
  },
  {
    row: 'R7',
    what: 'fragments',
    shownBy: [
      'test/attacks/refused.test.ts › fragments: tiny, without a first, overlapping',
      'test/attacks/refused.test.ts › IPv6 fragments: atomic, tiny, without a first, overlapping',
    ],
  },
  {
    row: 'R8',
    what: 'TCP without a SYN',
    shownBy: ['test/attacks/refused.test.ts › TCP without a SYN, with every other flag'],
  },
  {
    row: 'R9',
    what: 'other IP protocols, tunnels',
    shownBy: [
      'test/attacks/refused.test.ts › other protocols',
      'test/attacks/refused.test.ts › a packet inside a packet (IPIP, 6in4, GRE)',
    ],
  },
  {
    row: 'R10',
    what: 'the node by its link-local, probe, masquerade and overlay addresses',
    shownBy: [
      'test/system/isolation.test.ts › the node is no router to elsewhere: node, gateway, masquerade and link-local addresses (IPv%s)',
      'test/attacks/every-address.test.ts › what packets do is what the model says',
    ],
  },
  {
    row: 'R11',
    what: 'multicast, broadcast and protocols of the link',
    shownBy: [
      'test/attacks/refused.test.ts › multicast, broadcast and protocols of the link',
      'test/attacks/refused.test.ts › groups and leases: IGMP, MLD, DHCP',
    ],
  },
  {
    row: 'R12',
    what: 'what is behind an allowed Service, its other ports, the source port of an allowed query',
    shownBy: [
      'test/attacks/allowed-services.test.ts › other ports of DNS and of the API, and what is behind them',
      'test/attacks/allowed-services.test.ts › after an allowed query, the same source port opens nothing',
    ],
  },
  {
    row: 'R13',
    what: 'ICMP errors with a packet of others inside',
    shownBy: ['test/attacks/refused.test.ts › ICMP errors that quote a flow of others'],
  },
  {
    row: 'R14',
    what: 'a pod that rearranges its own interface',
    shownBy: [
      'test/attacks/own-interface.test.ts › a pod of %s (IPv%s) %s',
      'test/attacks/own-interface.test.ts › without routes, and with its interface moved away',
      'test/attacks/pod-as-root.test.ts › another MAC, also that of the gateway and of a mate: only the pod itself suffers (IPv%s)',
      'test/attacks/pod-as-root.test.ts › eth0 as a port of a bridge',
    ],
  },
  {
    row: 'R15',
    what: 'annotations that name networks and addresses of others',
    shownBy: [
      "test/system/networks.test.ts › another namespace's network needs its owner's grant",
      'test/system/interfaces.test.ts › what cannot be had makes the pod wait and is told',
      'test/system/subnets.test.ts › an address and a MAC by annotation; what is taken, reserved or outside waits and says why',
    ],
  },
  {
    row: 'R16',
    what: 'a router that imports a network without consent',
    shownBy: ['test/system/routers.test.ts › across namespaces both sides must name each other'],
  },
  {
    row: 'R17',
    what: 'a Service of the own network with an endpoint of another tenant',
    shownBy: [
      'test/attacks/allowed-services.test.ts › a Service of the network’s own, with an endpoint of another tenant',
    ],
  },
  {
    row: 'R18',
    what: 'controller and agent without a token, and for another node',
    shownBy: [
      'test/attacks/controller.test.ts › nobody reports for another node',
      'test/attacks/controller.test.ts › streams, reports and figures are for those who show a token',
    ],
  },
  {
    row: 'R19',
    what: 'TLS 1.0 and 1.1',
    shownBy: ['lib/http/server.test.ts › speaks TLS 1.2 and 1.3, and nothing older'],
  },
  {
    row: 'R20',
    what: 'prototype keys, deep and huge JSON at the controller',
    shownBy: [
      'controller/http/server.test.ts › whatever the body, an answer below 500; and the next review is answered',
      'controller/http/server.test.ts › keys of prototypes and very deep JSON',
      'test/attacks/deep-json.test.ts › the webhook',
    ],
  },
  {
    row: 'R21',
    what: 'bad input of the CNI plugin',
    shownBy: [
      'cni-plugin/skel.test.ts › is refused by code',
      'cni-plugin/answer.test.ts › whatever the agent answers, the plugin prints a result or an error of the specification',
    ],
  },
  {
    row: 'R22',
    what: 'manifests with alias bombs, cycles, odd lists',
    shownBy: [
      'lib/manifests/parse.test.ts › %s that multiply each other are refused at once',
      'lib/manifests/items.test.ts › a list inside of lists, very deep',
    ],
  },
  {
    row: 'R23',
    what: 'licences of what is distributed',
    shownBy: ['test/docs.test.ts › packages that we depend on have licences that allow it'],
  },
];
