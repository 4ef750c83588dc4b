import { describe, expect, test } from 'vitest';
import { decide } from '../../core/decide/decide.ts';
import { pod, shop, useLab, virtualNetwork } from './lab.ts';

// Node ports that a network's own pods dial: their own instance translates them, for every address of every node.

const lab = useLab('node-ports', { nodes: 2 });
const FAMILIES = [4, 6] as const;
const NODES = {
  4: ['192.0.2.11', '192.0.2.12'],
  6: ['2001:db8:2::11', '2001:db8:2::12'],
} as const;
const FURTHER = { 4: '192.0.2.112', 6: '2001:db8:2::112' } as const;
type Ports = { readonly tcp: number; readonly udp: number };

async function nodePorts(namespace: string, name = 'np', spec: object = {}): Promise<Ports> {
  await lab.apply(
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace },
      spec: {
        type: 'NodePort',
        ipFamilyPolicy: 'RequireDualStack',
        selector: { app: 'web' },
        ports: [
          { name: 'tcp', port: 80, targetPort: 8080 },
          { name: 'udp', port: 5353, protocol: 'UDP' },
        ],
        ...spec,
      },
    }),
    { wait: false },
  );
  const text = await lab.kubectl('get', 'svc', name, '-n', namespace, '-o', 'jsonpath={.spec.ports[*].nodePort}');
  const [tcp = 0, udp = 0] = text.split(' ').map(Number);
  return { tcp, udp };
}

/** What becomes of a client's TCP and UDP to node ports at an address: who answers, or the verdict. */
const dial = async (from: string, address: string, { tcp, udp }: Ports): Promise<string[]> => [
  await lab.connect(from, address, tcp),
  await lab.connect(from, address, udp, 'UDP'),
];
const CLOSED = ['rejected', 'rejected'];
const becomes = (from: string, address: string, ports: Ports, wanted: RegExp): Promise<string[]> =>
  lab.eventually(
    () => dial(from, address, ports),
    (found) => found.every((v) => wanted.test(v)),
    10_000,
  );

describe("node ports of a network's own Services", () => {
  let a: Ports;
  let b: Ports;

  test('set-up', async () => {
    await lab.apply(
      [
        shop('a'),
        shop('b'),
        shop('flat', { isolated: false }),
        JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'nat' } }),
        virtualNetwork('nat', 'out', { egress: { mode: 'NAT' } }),
        pod('nat', 'cli', { node: 'n1', annotations: { 'bulkhead.dev/network': 'out' } }),
      ].join('\n---\n'),
    );
    a = await nodePorts('a');
    b = await nodePorts('b');
    for (const f of FAMILIES)
      for (const [from, ports] of [
        ['a/p1', a],
        ['a/p2', a],
        ['b/p1', b],
      ] as const)
        expect(await becomes(from, NODES[f][0], ports, /^open/)).toEqual([
          expect.stringMatching(`^open:${from[0]}/`),
          expect.stringMatching('^open'),
        ]);
  });

  test.each(FAMILIES)('own node and other node, TCP and UDP; those of others are closed (IPv%s)', async (f) => {
    for (const address of NODES[f]) {
      for (const from of ['a/p1', 'a/p2']) {
        expect([from, address, await dial(from, address, a)]).toEqual([
          from,
          address,
          [expect.stringMatching(/^open:a\//), expect.stringMatching(/^open/)],
        ]);
        expect([from, address, await dial(from, address, b)]).toEqual([from, address, CLOSED]);
        // The number is a node port for its own protocol only, and nothing else of the node is open.
        expect(await dial(from, address, { tcp: a.udp, udp: a.tcp })).toEqual(CLOSED);
        expect(await lab.connect(from, address, 10_250)).toBe('rejected');
      }
      expect(await dial('b/p2', address, b)).toEqual([
        expect.stringMatching(/^open:b\//),
        expect.stringMatching(/^open/),
      ]);
      for (const from of ['b/p1', 'b/p2', 'nat/cli'])
        expect([from, await dial(from, address, a)]).toEqual([from, CLOSED]);
      // The flat network has them by kube-proxy, as ever.
      for (const from of ['flat/p1', 'flat/p2'])
        expect(await dial(from, address, a)).toEqual([
          expect.stringMatching(/^open:a\//),
          expect.stringMatching(/^open/),
        ]);
    }
  });

  test('the model says what packets do, by every node, for every client', async () => {
    const view = await lab.view();
    const wrong: unknown[] = [];
    for (const from of ['a/p1', 'a/p2', 'b/p1', 'nat/cli', 'flat/p1', 'flat/p2'])
      for (const f of FAMILIES)
        for (const address of NODES[f])
          for (const [port, protocol] of [a, b].flatMap(({ tcp, udp }) => [
            [tcp, 'TCP'] as const,
            [udp, 'UDP'] as const,
          ])) {
            const { verdict, why } = decide(view, await lab.pod(from), { address, port, protocol });
            const [measured] = (await lab.connect(from, address, port, protocol)).split(':');
            if (measured !== verdict) wrong.push({ from, address, port, protocol, verdict, measured, why });
          }
    expect(wrong).toEqual([]);
  });

  test('nothing leaves the network: a pod is met as itself, wherever it dials', async () => {
    await lab.apply(
      [
        pod('a', 'solo', { node: 'n2', labels: { app: 'solo' } }),
        JSON.stringify({
          apiVersion: 'networking.k8s.io/v1',
          kind: 'NetworkPolicy',
          metadata: { name: 'solo', namespace: 'a' },
          spec: {
            podSelector: { matchLabels: { app: 'solo' } },
            policyTypes: ['Ingress'],
            ingress: [{ from: [{ podSelector: { matchLabels: { app: 'friend' } } }] }],
          },
        }),
        pod('a', 'friend', { node: 'n1', labels: { app: 'friend' } }),
      ].join('\n---\n'),
    );
    const solo = await nodePorts('a', 'solo', { selector: { app: 'solo' } });
    for (const f of FAMILIES)
      for (const address of NODES[f]) {
        expect(await becomes('a/friend', address, solo, /^open/)).toEqual([
          'open:a/solo',
          expect.stringMatching(/^open/),
        ]);
        expect(await lab.connect('a/p1', address, solo.tcp, 'TCP', 700)).toBe('closed');
      }
  });

  test.each(FAMILIES)('hairpin: a pod meets itself by the node port of its own Service (IPv%s)', async (f) => {
    await lab.apply(pod('a', 'self', { node: 'n1', labels: { app: 'self' } }));
    const self = await nodePorts('a', 'self', { selector: { app: 'self' } });
    for (const address of NODES[f])
      expect(await becomes('a/self', address, self, /^open/)).toEqual(['open:a/self', expect.stringMatching(/^open/)]);
  });

  test('traffic policies are not for them: every endpoint answers, by every node', async () => {
    for (const policy of ['internalTrafficPolicy', 'externalTrafficPolicy']) {
      await lab.apply(pod('a', 'far', { node: 'n2', labels: { app: 'far' } }));
      const far = await nodePorts('a', 'far', { selector: { app: 'far' }, [policy]: 'Local' });
      for (const f of FAMILIES)
        for (const address of NODES[f])
          expect(await becomes('a/p1', address, far, /^open/)).toEqual(['open:a/far', expect.stringMatching(/^open/)]);
      // For pods of the flat network they are: kube-proxy of another node takes them for that other node's packets.
      const view = await lab.view();
      const local = policy === 'externalTrafficPolicy';
      for (const f of FAMILIES)
        for (const [from, address, wanted] of [
          ['flat/p1', NODES[f][0], 'open'],
          ['flat/p1', NODES[f][1], 'open'],
          ['flat/p2', NODES[f][0], local ? 'closed' : 'open'],
          ['flat/p2', NODES[f][1], 'open'],
        ] as const) {
          expect([
            from,
            address,
            decide(view, await lab.pod(from), { address, port: far.tcp, protocol: 'TCP' }).verdict,
          ]).toEqual([from, address, wanted]);
          const measured = await lab.connect(from, address, far.tcp);
          expect([from, address, measured]).toEqual([from, address, expect.stringMatching(`^${wanted}`)]);
        }
      await lab.kubectl('delete', 'svc', '-n', 'a', 'far');
    }
  });

  test('a further address of a node, from when it has it until it has it no longer', async () => {
    for (const f of FAMILIES) {
      const cidr = `${FURTHER[f]}/${f === 4 ? 24 : 64}`;
      await lab.onNode('n2', 'ip', 'addr', 'add', cidr, 'dev', 'eth0', ...(f === 6 ? ['nodad'] : []));
      for (const from of ['a/p1', 'a/p2'])
        expect([from, await becomes(from, FURTHER[f], a, /^open/)]).toEqual([
          from,
          [expect.stringMatching(/^open:a\//), expect.stringMatching(/^open/)],
        ]);
      for (const from of ['b/p1', 'nat/cli']) expect([from, await dial(from, FURTHER[f], a)]).toEqual([from, CLOSED]);
      expect(await lab.differences()).toEqual([]);
      await lab.onNode('n2', 'ip', 'addr', 'del', cidr, 'dev', 'eth0');
      expect(await becomes('a/p1', FURTHER[f], a, /^rejected/)).toEqual(CLOSED);
    }
  });

  test('a node port that is given up, and one without endpoints, is refused; the memory of datagrams ends with it', async () => {
    const before = await lab.connect('a/p1', NODES[4][1], a.udp, 'UDP');
    expect(before).toMatch(/^open/);
    await lab.kubectl('patch', 'svc', 'np', '-n', 'a', '--type=merge', '-p', '{"spec":{"selector":{"app":"nobody"}}}');
    expect(await becomes('a/p1', NODES[4][1], a, /^rejected/)).toEqual(CLOSED);
    await lab.kubectl('patch', 'svc', 'np', '-n', 'a', '--type=merge', '-p', '{"spec":{"selector":{"app":"web"}}}');
    expect(await becomes('a/p1', NODES[4][1], a, /^open/)).not.toEqual(CLOSED);
    await lab.kubectl('patch', 'svc', 'np', '-n', 'a', '--type=merge', '-p', '{"spec":{"type":"ClusterIP"}}');
    expect(await becomes('a/p1', NODES[4][1], a, /^rejected/)).toEqual(CLOSED);
  });
});
