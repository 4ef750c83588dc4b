import { afterAll, describe, expect, test } from 'vitest';
import { startAgent } from '../../lab/world/lab.ts';
import { netPath } from '../../lab/world/plan.ts';
import { HOST_PORT, namespaceOf, NODE, onHost, withHostPort } from './host-port-pods.ts';
import { pod, useLab, virtualNetwork } from './lab.ts';
import { UdpCaller } from './udp-caller.ts';

// A host port or an address gets another owner while a client with one source port sends without a pause. Its connection must
// follow the present owner, or end: never go on to whoever had the place before, and never to a new one past its policies.

const lab = useLab('hands', { nodes: 2 });

const callers: UdpCaller[] = [];
afterAll(() => {
  for (const c of callers) c.end();
});

function call(netns: string, address: string, port: number, sourcePort: number): UdpCaller {
  const caller = new UdpCaller(netns, address, port, sourcePort);
  callers.push(caller);
  return caller;
}
const outside = (): string => netPath(lab.name, 'outside');

const denyAll = (ns: string, role: string): string =>
  JSON.stringify({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: `deny-${role}`, namespace: ns },
    spec: { podSelector: { matchLabels: { role } }, policyTypes: ['Ingress'] },
  });

/** Makes pods until one has the address. Its name. */
async function podAt(ip: string, ns: string, labels: Record<string, string>): Promise<string> {
  const wanted = await lab.eventually(
    async () => {
      const names = Array.from({ length: 8 }, (_, i) => `next-${Date.now() % 1_000_000}-${i}`);
      await lab.apply(names.map((n) => pod(ns, n, { node: 'n1', labels })).join('\n---\n'));
      const view = await lab.view();
      return names.find((n) => view.state.pods.get(`${ns}/${n}`)?.ips.includes(ip)) ?? '';
    },
    (name) => name !== '',
    60_000,
  );
  return wanted;
}

test('set-up', () => lab.apply([namespaceOf('flat', false), namespaceOf('iso', true)].join('\n---\n')));

test('a node port that is gone ends what clients keep sending, and the same port serves again (isolated, IPv4 and IPv6)', async () => {
  const service = (nodePort: number): string =>
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'udp', namespace: 'iso' },
      spec: {
        type: 'NodePort',
        ipFamilyPolicy: 'PreferDualStack',
        selector: { role: 'udp' },
        ports: [{ name: 'd', port: 5353, protocol: 'UDP', nodePort }],
      },
    });
  await lab.apply([pod('iso', 'answers', { node: 'n1', labels: { role: 'udp' } }), service(31_353)].join('\n---\n'));
  const clients = [
    call(outside(), NODE[4], 31_353, 40_051),
    call(outside(), NODE[6], 31_353, 40_052),
    call(netPath(lab.name, 'n2'), NODE[4], 31_353, 40_053),
  ];
  const answers = (): Promise<string[]> => Promise.all(clients.map((c) => c.next()));
  expect(await answers()).toEqual(clients.map(() => 'iso/answers'));
  await lab.kubectl('delete', 'service', '-n', 'iso', 'udp');
  const silent = await lab.eventually(
    () => Promise.all(clients.map((c) => c.answerers(1_000))),
    (all) => all.every((a) => a.length === 0),
  );
  expect(silent).toEqual(clients.map(() => []));
  expect(await lab.connect('iso/answers', await lab.ip('iso/answers'), 5353, 'UDP')).toBe('open:iso/answers');
  await lab.apply(service(31_353));
  expect(await answers()).toEqual(clients.map(() => 'iso/answers'));
  for (const client of clients) client.end();
});

test.each(['flat', 'iso'] as const)('a host port leads to its pod as soon as the pod runs (%s)', async (ns) => {
  // Several, since one may be carried along by another change of the node.
  for (const name of ['one', 'two', 'three', 'four']) {
    const ports = [{ containerPort: 8080, hostPort: 8182 }];
    await lab.apply(pod(ns, name, { node: 'n1', container: { ports } }));
    for (const f of [4, 6] as const)
      expect([f, await lab.connect({ net: 'outside' }, NODE[f], 8182)]).toEqual([f, `open:${ns}/${name}`]);
    await lab.kubectl('delete', 'pod', '-n', ns, name);
  }
});

describe('a UDP client that never stops sending', () => {
  test.each([
    ['flat', 4],
    ['flat', 6],
    ['iso', 4],
    ['iso', 6],
  ] as const)(
    'a host port: nobody, a pod, another pod, a process of the node, a pod again (%s, IPv%s)',
    async (ns, f) => {
      const caller = call(outside(), NODE[f], HOST_PORT, 41_000 + f + (ns === 'iso' ? 10 : 0));
      expect(await caller.next(1_000)).toBe('nobody');
      await lab.apply(withHostPort(ns, 'first'));
      expect(await caller.next()).toBe(`${ns}/first`);
      await lab.kubectl('delete', 'pod', '-n', ns, 'first');
      await lab.apply(withHostPort(ns, 'second'));
      expect(await caller.next()).toBe(`${ns}/second`);
      await lab.kubectl('delete', 'pod', '-n', ns, 'second');
      await lab.apply(onHost(ns, 'third'));
      expect(await caller.next()).toBe(`${ns}/third`);
      await lab.kubectl('delete', 'pod', '-n', ns, 'third');
      await lab.apply(withHostPort(ns, 'fourth'));
      expect(await caller.next()).toBe(`${ns}/fourth`);
      expect(await caller.answerers(1_000)).toEqual([`${ns}/fourth`]);
      await lab.kubectl('delete', 'pod', '-n', ns, 'fourth');
      await lab.eventually(
        () => caller.answerers(300),
        (a) => a.length === 0,
      );
      expect(await caller.answerers(500)).toEqual([]);
      caller.end();
    },
  );

  test.each(['flat', 'iso'] as const)(
    'an address that goes to a pod behind a policy: old connections do not go past it, from pods here and elsewhere and from outside (%s)',
    async (ns) => {
      await lab.apply([denyAll(ns, 'victim'), withHostPort(ns, 'first')].join('\n---\n'));
      await lab.apply([pod(ns, 'here', { node: 'n1' }), pod(ns, 'there', { node: 'n2' })].join('\n---\n'));
      const ips = { 4: await lab.ip(`${ns}/first`, 4), 6: await lab.ip(`${ns}/first`, 6) };
      const [here, there] = [await lab.netns(`${ns}/here`), await lab.netns(`${ns}/there`)];
      const all = ([4, 6] as const).flatMap((f) => [
        call(here, ips[f], 5353, 42_000),
        call(there, ips[f], 5353, 42_000),
        call(outside(), NODE[f], HOST_PORT, 42_000 + (ns === 'iso' ? 1 : 0)),
      ]);
      for (const c of all) expect(await c.next()).toBe(`${ns}/first`);
      await lab.kubectl('delete', 'pod', '-n', ns, 'first');
      const victim = await podAt(ips[4], ns, { role: 'victim' });
      for (const c of all) expect(await c.answerers(500)).toEqual([]);
      // The allowed twin: without the policy they reach it, all but the one outside: there is no host port any more.
      await lab.kubectl('delete', 'networkpolicy', '-n', ns, 'deny-victim');
      expect(await all[0]?.next()).toBe(`${ns}/${victim}`);
      expect(await all[1]?.next()).toBe(`${ns}/${victim}`);
      expect(await all[2]?.answerers(500)).toEqual([]);
      for (const c of all) c.end();
      await lab.kubectl('delete', 'pod', '-n', ns, '--all');
    },
  );

  test('fixed addresses that go to a pod behind a policy, in both families', async () => {
    const ips = { 4: '10.91.0.7', 6: 'fd00:91::7' };
    const at = (name: string, role: string, annotations: Record<string, string> = {}, node = 'n1'): string =>
      pod('iso', name, { node, labels: { role }, annotations: { 'bulkhead.dev/network': 'fixed', ...annotations } });
    const asks = { 'bulkhead.dev/ips': Object.values(ips).join(', ') };
    await lab.apply(virtualNetwork('iso', 'fixed', { subnets: ['10.91.0.0/24', 'fd00:91::/64'] }), { wait: false });
    await lab.apply(
      [denyAll('iso', 'victim'), at('first', 'x', asks), at('here', 'x'), at('there', 'x', {}, 'n2')].join('\n---\n'),
    );
    const all: UdpCaller[] = [];
    for (const from of ['here', 'there'])
      for (const f of [4, 6] as const) all.push(call(await lab.netns(`iso/${from}`), ips[f], 5353, 44_000));
    for (const c of all) expect(await c.next()).toBe('iso/first');
    await lab.kubectl('delete', 'pod', '-n', 'iso', 'first');
    await lab.apply(at('victim', 'victim', asks));
    for (const c of all) expect(await c.answerers(500)).toEqual([]);
    await lab.kubectl('delete', 'networkpolicy', '-n', 'iso', 'deny-victim');
    for (const c of all) expect(await c.next()).toBe('iso/victim');
    for (const c of all) c.end();
    await lab.kubectl('delete', 'pod', '-n', 'iso', '--all');
  });

  test('fixed addresses that move to another node, and to a pod behind a policy there', async () => {
    const ips = { 4: '10.92.0.7', 6: 'fd00:92::7' };
    const at = (name: string, role: string, annotations: Record<string, string> = {}, node = 'n1'): string =>
      pod('iso', name, { node, labels: { role }, annotations: { 'bulkhead.dev/network': 'moves', ...annotations } });
    const asks = { 'bulkhead.dev/ips': Object.values(ips).join(', ') };
    // Only pods that ask get these addresses, so that no node keeps the block for others.
    const spec = { subnets: ['10.92.0.0/24', 'fd00:92::/64'], staticPrefixes: ['10.92.0.0/28', 'fd00:92::/124'] };
    await lab.apply(virtualNetwork('iso', 'moves', spec), { wait: false });
    await lab.apply(
      [denyAll('iso', 'moved'), at('first', 'x', asks), at('here', 'x'), at('there', 'x', {}, 'n2')].join('\n---\n'),
    );
    const all: UdpCaller[] = [];
    for (const from of ['here', 'there'])
      for (const f of [4, 6] as const) all.push(call(await lab.netns(`iso/${from}`), ips[f], 5353, 44_100));
    for (const c of all) expect(await c.next()).toBe('iso/first');
    await lab.kubectl('delete', 'pod', '-n', 'iso', 'first');
    await lab.apply(at('moved', 'moved', asks, 'n2'));
    for (const c of all) expect(await c.answerers(500)).toEqual([]);
    await lab.kubectl('delete', 'networkpolicy', '-n', 'iso', 'deny-moved');
    for (const c of all) expect(await c.next()).toBe('iso/moved');
    for (const c of all) c.end();
    await lab.kubectl('delete', 'pod', '-n', 'iso', '--all');
  });

  test('a restart of the agent in the middle: what it had to cut is cut when it is back', async () => {
    await lab.apply(withHostPort('flat', 'first'));
    const caller = call(outside(), NODE[4], HOST_PORT, 43_000);
    expect(await caller.next()).toBe('flat/first');
    const ip = await lab.ip('flat/first');
    await lab.kill('agent-n1');
    // The pod is torn away under the dead agent, as a reboot of the runtime does.
    const dev = /dev (bhp[0-9a-f]{12})/.exec(await lab.onNode('n1', 'ip', 'route', 'get', ip))?.[1] ?? '';
    await lab.onNode('n1', 'ip', 'link', 'del', dev);
    startAgent(lab.spec, 'n1');
    await lab.kubectl('delete', 'pod', '-n', 'flat', 'first');
    await lab.apply(withHostPort('flat', 'second'));
    expect(await caller.next()).toBe('flat/second');
    caller.end();
    await lab.kubectl('delete', 'pod', '-n', 'flat', '--all');
  });
});
