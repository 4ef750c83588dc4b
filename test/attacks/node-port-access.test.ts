import { afterAll, describe, expect, test } from 'vitest';
import { netPath } from '../../lab/world/plan.ts';
import { exec } from '../../lib/exec/exec.ts';
import { pod, shop, useLab } from '../system/lab.ts';
import { UdpCaller } from '../system/udp-caller.ts';

// `nodePortAccess: External` means: from outside, and from no pod of the flat network. A Service by hand whose endpoints are the exposed
// pods themselves would lead such a pod there under the address of a node, which the gate takes for the outside.

const lab = useLab('node-port-access', { admission: false, nodes: 2 });
const families = [4, 6] as const;
const NODES = { 4: ['192.0.2.11', '192.0.2.12'], 6: ['2001:db8:2::11', '2001:db8:2::12'] } as const;
/** An outer address whose packets the fabric sends to n2, as a load balancer does. */
const BALANCED = { 4: '198.51.100.10', 6: '2001:db8:51::a' } as const;
const EXTERNAL = { 4: '198.51.100.9', 6: '2001:db8:51::9' } as const;
const CLIENTS = ['flat/p1', 'flat/p2'] as const;
const VICTIMS = ['b/p1', 'b/p2'] as const;
const callers: UdpCaller[] = [];
afterAll(() => {
  for (const c of callers) c.end();
});

const PORTS = [
  { name: 'tcp', port: 8080, protocol: 'TCP' },
  { name: 'udp', port: 5353, protocol: 'UDP' },
];
const nodePortService = (namespace: string, name: string, spec: object = {}): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: { type: 'NodePort', ipFamilyPolicy: 'RequireDualStack', ports: PORTS, ...spec },
  });
/** Endpoints by hand for a Service of the flat network. */
const slice = (service: string, address: string, { ports = PORTS as object[], node = '' } = {}): string =>
  JSON.stringify({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${service}-${address.includes(':') ? 6 : 4}`,
      namespace: 'flat',
      labels: { 'kubernetes.io/service-name': service },
    },
    addressType: address.includes(':') ? 'IPv6' : 'IPv4',
    ports,
    endpoints: [{ addresses: [address], ...(node === '' ? {} : { nodeName: node }) }],
  });
const service = async (namespace: string, name: string) => {
  const found = (await lab.view()).state.services.get(`${namespace}/${name}`);
  const port = (protocol: string): number => found?.ports.find((p) => p.protocol === protocol)?.nodePort ?? 0;
  return { clusterIPs: found?.clusterIPs ?? [], tcp: port('TCP'), udp: port('UDP') };
};
const access = (nodePortAccess: 'All' | 'External'): Promise<string> =>
  lab.kubectl(
    'patch',
    'vn',
    'default',
    '-n',
    'b',
    '--type=merge',
    '-p',
    JSON.stringify({ spec: { services: { nodePortAccess } } }),
  );
type Client = Parameters<typeof lab.connect>[0];
const answers = (from: Client, address: string, tcp: number, udp: number): Promise<string[]> =>
  Promise.all([
    lab.connect(from, address, tcp, 'TCP', 1_000),
    lab.connect(from, address, udp, 'UDP', 1_000).then((v) => v.split(':')[0] ?? ''),
  ]);
const becomes = (from: Client, address: string, [tcp, udp]: readonly [number, number], wanted: RegExp) =>
  lab.eventually(
    () => answers(from, address, tcp, udp),
    (found) => found.every((v) => wanted.test(v)),
  );
const OPEN = (who: string): string[] => [`open:${who}`, 'open'];
const NOT_OPEN: unknown = expect.stringMatching(/^(rejected|closed)$/);
const REFUSED = ['rejected', 'rejected'];

describe('exposed pods of a network with nodePortAccess External', () => {
  test('set-up: while access is All, a Service by hand leads there', async () => {
    await lab.apply(
      [
        shop('b'),
        shop('flat', { isolated: false }),
        nodePortService('b', 'public', { selector: { app: 'web' } }),
        nodePortService('flat', 'trap1', { externalIPs: [EXTERNAL[4], EXTERNAL[6]] }),
        nodePortService('flat', 'trap2'),
        nodePortService('flat', 'local1', { externalTrafficPolicy: 'Local' }),
        nodePortService('flat', 'local2', { externalTrafficPolicy: 'Local' }),
        nodePortService('flat', 'chain'),
        // Exposed, and open to the flat network by its own word, or by a port of its node.
        pod('b', 'opened', {
          node: 'n1',
          labels: { app: 'opened' },
          annotations: { 'bulkhead.dev/open-ports': '8080/TCP, 5353/UDP', 'bulkhead.dev/open-to': 'flat' },
        }),
        nodePortService('b', 'opened', { selector: { app: 'opened' } }),
        nodePortService('flat', 'to-opened'),
        pod('b', 'host', {
          node: 'n1',
          labels: { app: 'host' },
          container: {
            ports: [
              { containerPort: 8080, hostPort: 8181 },
              { containerPort: 5353, hostPort: 8182, protocol: 'UDP' },
            ],
          },
        }),
        nodePortService('b', 'host', { selector: { app: 'host' } }),
      ].join('\n---\n'),
    );
    const { tcp, udp } = await service('flat', 'trap2');
    for (const f of families)
      await lab.apply(
        [
          slice('trap1', await lab.ip('b/p1', f)),
          slice('trap2', await lab.ip('b/p2', f)),
          slice('local1', await lab.ip('b/p1', f), { node: 'n1' }),
          slice('local2', await lab.ip('b/p2', f), { node: 'n2' }),
          slice('to-opened', await lab.ip('b/opened', f)),
          slice('chain', NODES[f][1], {
            ports: [
              { name: 'tcp', port: tcp, protocol: 'TCP' },
              { name: 'udp', port: udp, protocol: 'UDP' },
            ],
          }),
        ].join('\n---\n'),
      );
    for (const f of families)
      for (const [i, victim] of VICTIMS.entries()) {
        const trap = await service('flat', `trap${i + 1}`);
        for (const from of CLIENTS)
          for (const address of NODES[f])
            expect([from, address, await becomes(from, address, [trap.tcp, trap.udp], /^open/)]).toEqual([
              from,
              address,
              OPEN(victim),
            ]);
      }
  });

  test('what was open by such a Service ends when access becomes External; what is open otherwise goes on', async () => {
    const [trap, opened, own] = [
      await service('flat', 'trap2'),
      await service('flat', 'to-opened'),
      await service('b', 'public'),
    ];
    let port = 40_200;
    const call = async (from: Client, address: string, to: number): Promise<UdpCaller> => {
      const netns = typeof from === 'string' ? await lab.netns(from) : `/run/bulkhead-lab/${from.net}`;
      const caller = new UdpCaller(netns, address, to, port++);
      callers.push(caller);
      return caller;
    };
    const bad: UdpCaller[] = [];
    const good: UdpCaller[] = [];
    for (const f of families)
      for (const from of CLIENTS) {
        for (const address of NODES[f]) bad.push(await call(from, address, trap.udp));
        good.push(await call(from, opened.clusterIPs.find((ip) => ip.includes(':') === (f === 6)) ?? '', 5353));
        good.push(await call(from, NODES[f][0], 8182));
      }
    for (const c of bad) expect(await c.next()).toBe('b/p2');
    for (const c of good) expect(await c.next()).toMatch(/^b\/(opened|host)$/);
    await access('External');
    for (const f of families)
      expect(await becomes('flat/p1', NODES[f][0], [own.tcp, own.udp], /^rejected/)).toEqual(REFUSED);
    for (const c of bad)
      expect(
        await lab.eventually(
          () => c.answerers(600),
          (who) => who.length === 0,
          10_000,
        ),
      ).toEqual([]);
    for (const c of good) expect(await c.next()).toMatch(/^b\/(opened|host)$/);
    for (const c of [...bad, ...good]) c.end();
  });

  test.each(families)('no Service by hand leads a flat pod to them, by whatever address (IPv%s)', async (f) => {
    const outside = { net: 'outside' };
    const own = await service('b', 'public');
    for (const [i, victim] of VICTIMS.entries())
      for (const name of [`trap${i + 1}`, `local${i + 1}`]) {
        const trap = await service('flat', name);
        const cluster = trap.clusterIPs.find((ip) => ip.includes(':') === (f === 6)) ?? '';
        for (const from of CLIENTS) {
          for (const address of NODES[f]) {
            const found = await answers(from, address, trap.tcp, trap.udp);
            // Another node's refusal of a datagram may come too late or, as one of many, not at all.
            const refused = name.startsWith('trap') || address === NODES[f][i] ? 'rejected' : NOT_OPEN;
            expect([from, name, address, found]).toEqual([from, name, address, [refused, NOT_OPEN]]);
          }
          expect([from, name, await answers(from, cluster, 8080, 5353)]).toEqual([from, name, REFUSED]);
          if (name === 'trap1') expect([from, await answers(from, EXTERNAL[f], 8080, 5353)]).toEqual([from, REFUSED]);
          expect([from, victim, await answers(from, await lab.ip(victim, f), 8080, 5353)]).toEqual([
            from,
            victim,
            REFUSED,
          ]);
        }
        // Nothing is closed to the outside, by whichever Service.
        const node = NODES[f][i] ?? '';
        expect(await becomes(outside, node, [trap.tcp, trap.udp], /^open/)).toEqual(OPEN(victim));
      }
    const chain = await service('flat', 'chain');
    for (const from of CLIENTS) {
      const found = await answers(from, NODES[f][0], chain.tcp, chain.udp);
      expect([from, found]).toEqual([from, ['rejected', NOT_OPEN]]);
    }
    // Twins: from outside and for processes of nodes its own node ports are open.
    for (const from of [outside, { net: 'n1' }, { net: 'n2' }])
      for (const address of NODES[f])
        expect([from, address, await becomes(from, address, [own.tcp, own.udp], /^open/)]).toEqual([
          from,
          address,
          [expect.stringMatching(/^open:b\//), 'open'],
        ]);
  });

  test.each(families)(
    'nor one behind another, by an outer address and the number of the closed node port (IPv%s)',
    async (f) => {
      const own = await service('b', 'public');
      const numbers = [
        { name: 'tcp', port: own.tcp, targetPort: 8080, protocol: 'TCP' },
        { name: 'udp', port: own.udp, targetPort: 5353, protocol: 'UDP' },
      ];
      await lab.apply(
        [
          nodePortService('flat', 'balanced', { externalIPs: Object.values(BALANCED), ports: numbers }),
          slice('balanced', await lab.ip('b/p2', f)),
          nodePortService('flat', 'first'),
          slice('first', BALANCED[f], { ports: numbers }),
        ].join('\n---\n'),
      );
      const route = ['ip', 'route', 'replace', BALANCED[f], 'via', NODES[f][1]];
      await exec(['nsenter', `--net=${netPath(lab.name, 'fabric')}`, ...route]);
      const first = await service('flat', 'first');
      const cluster = first.clusterIPs.find((ip) => ip.includes(':') === (f === 6)) ?? '';
      // The twin says as well that the Services are in effect.
      expect(await becomes({ net: 'outside' }, BALANCED[f], [own.tcp, own.udp], /^open/)).toEqual(OPEN('b/p2'));
      expect(await answers('flat/p1', cluster, 8080, 5353)).toEqual(['rejected', NOT_OPEN]);
      expect(await answers('flat/p1', NODES[f][0], first.tcp, first.udp)).toEqual(['rejected', NOT_OPEN]);
      // A process of the node, by the node port itself.
      expect(await becomes({ net: 'n1' }, NODES[f][1], [own.tcp, own.udp], /^open/)).toEqual([
        expect.stringMatching(/^open:b\//),
        'open',
      ]);
    },
  );

  test.each(families)(
    'what a pod opens itself, and its host port, stay open to the flat network (IPv%s)',
    async (f) => {
      const trap = await service('flat', 'to-opened');
      const cluster = trap.clusterIPs.find((ip) => ip.includes(':') === (f === 6)) ?? '';
      for (const from of CLIENTS) {
        expect([from, await becomes(from, await lab.ip('b/opened', f), [8080, 5353], /^open/)]).toEqual([
          from,
          OPEN('b/opened'),
        ]);
        expect([from, await answers(from, cluster, 8080, 5353)]).toEqual([from, OPEN('b/opened')]);
        expect([from, await answers(from, NODES[f][0], 8181, 8182)]).toEqual([from, OPEN('b/host')]);
        expect([from, await answers(from, await lab.ip('b/host', f), 8080, 5353)]).toEqual([from, REFUSED]);
      }
      // From its own node a Service by hand leads there as well: the gate sees the pod itself.
      expect(await answers('flat/p1', NODES[f][0], trap.tcp, trap.udp)).toEqual(OPEN('b/opened'));
      expect(await answers('flat/p2', NODES[f][1], trap.tcp, trap.udp)).toEqual(OPEN('b/opened'));
    },
  );

  test('a pod that becomes an endpoint later is closed as well, and opens again with access All', async () => {
    await lab.apply(pod('b', 'late', { node: 'n2', labels: { app: 'web' } }));
    for (const f of families) await lab.apply(slice('trap2', await lab.ip('b/late', f)));
    const trap = await service('flat', 'trap2');
    for (const f of families)
      for (const from of CLIENTS)
        for (const address of NODES[f])
          expect([from, address, await becomes(from, address, [trap.tcp, trap.udp], /^rejected/)]).toEqual([
            from,
            address,
            REFUSED,
          ]);
    await access('All');
    for (const f of families)
      for (const from of CLIENTS)
        for (const address of NODES[f])
          expect([from, address, await becomes(from, address, [trap.tcp, trap.udp], /^open/)]).toEqual([
            from,
            address,
            OPEN('b/late'),
          ]);
  });
});
