import { beforeAll, describe, expect, test } from 'vitest';
import { GATEWAY_MAC } from '../../dataplane/plan/names.ts';
import { API_PORT, DNS_IP, fabricAddress, KUBERNETES_IP } from '../../lab/world/plan.ts';
import { keyOf } from '../../core/cluster/state.ts';
import { shop, useLab } from '../system/lab.ts';
import { ethernet, marker, TCP_FLAG, tcp, udp } from './packets.ts';
import { RawSocket, sendDatagram } from './raw-socket.ts';

// What an isolated network allows by name, DNS and the API, is open by that name and its ports alone: not what is behind it, no other
// port, and not because something was allowed a moment ago. And a Service of the network's own leads to nobody else.

const lab = useLab('atk-allowed', { admission: false, nodes: 2 });
const FAMILIES = [4, 6] as const;
const SENDERS = ['a/p1', 'a/p2'] as const;

beforeAll(() => lab.apply([shop('a'), shop('b'), shop('flat', { isolated: false })].join('\n---\n')));

/** What is behind DNS. */
const dnsPods = async (): Promise<string[]> =>
  [...(await lab.view()).state.pods.values()].filter((p) => p.labels['k8s-app'] === 'kube-dns').map(keyOf);

describe.each(FAMILIES)('IPv%s', (f) => {
  test.each(SENDERS)('%s: other ports of DNS and of the API, and what is behind them', async (from) => {
    const [dns = ''] = await dnsPods();
    const ip = await lab.ip(dns, f);
    const allowed = [
      [DNS_IP[f], 53, 'UDP'],
      [DNS_IP[f], 53, 'TCP'],
      [KUBERNETES_IP[f], 443, 'TCP'],
    ] as const;
    const closed = [
      [DNS_IP[f], 54, 'UDP'],
      [DNS_IP[f], 9153, 'TCP'],
      [DNS_IP[f], 443, 'TCP'],
      [KUBERNETES_IP[f], 53, 'UDP'],
      [KUBERNETES_IP[f], 80, 'TCP'],
      [KUBERNETES_IP[f], API_PORT, 'TCP'],
      [ip, 53, 'UDP'],
      [ip, 53, 'TCP'],
      [ip, 8080, 'TCP'],
      [fabricAddress(f, 2), API_PORT, 'TCP'],
    ] as const;
    const dial = async (to: readonly (readonly [string, number, 'TCP' | 'UDP'])[]): Promise<unknown[]> => {
      const answers: unknown[] = [];
      for (const [address, port, protocol] of to)
        answers.push([address, port, protocol, await lab.connect(from, address, port, protocol)]);
      return answers;
    };
    const all = (to: readonly (readonly unknown[])[], verdict: string): unknown[] => to.map((t) => [...t, verdict]);
    // The API serves the families of its host.
    const mine = allowed.filter(([address]) => address !== KUBERNETES_IP[6]);
    expect(await dial(mine)).toEqual(all(mine, 'open'));
    expect(await dial(closed)).toEqual(all(closed, 'rejected'));
    expect(await dial(mine)).toEqual(all(mine, 'open'));
  });

  test.each(SENDERS)('%s: after an allowed query, the same source port opens nothing', async (from) => {
    using ears = new DisposableStack();
    const dns = await dnsPods();
    const listeners = await Promise.all(
      [...dns, 'b/p1', 'flat/p1'].map(async (name) => ears.use(new RawSocket(await lab.netns(name), 'eth0'))),
    );
    const ips = await Promise.all(dns.map((name) => lab.ip(name, f)));
    using mouth = new RawSocket(await lab.netns(from), 'eth0');
    const netns = await lab.netns(from);
    const own = { address: f === 4 ? '0.0.0.0' : '::', port: 40_053 };
    const twin = marker('query');
    sendDatagram(netns, { address: DNS_IP[f], port: 53 }, twin, own);
    const frames: Buffer[] = [];
    const arrives = (text: Buffer): Promise<boolean> =>
      lab.eventually(
        async () => {
          frames.push(...listeners.flatMap((l) => l.received()));
          return await Promise.resolve(frames.some((x) => x.includes(text)));
        },
        (seen) => seen,
      );
    expect(await arrives(twin)).toBe(true);
    const source = await lab.ip(from, f);
    const forged = [
      ...[...ips, await lab.ip('b/p1', f), await lab.ip('flat/p1', f)].flatMap((destination) => {
        const text = marker('same-port');
        const plain = udp({ source, destination, sourcePort: own.port, port: 53, payload: text });
        const ack = tcp({
          source,
          destination,
          sourcePort: own.port,
          port: 53,
          flags: TCP_FLAG.ACK | TCP_FLAG.PSH,
          payload: text,
        });
        return [plain, ack].map((payload) => ({ text, payload }));
      }),
      // The cluster IP itself, by a packet that belongs to no connection.
      ...[DNS_IP[f], KUBERNETES_IP[f]].map((destination) => {
        const text = marker('no-syn');
        return {
          text,
          payload: tcp({
            source,
            destination,
            sourcePort: own.port,
            port: 53,
            flags: TCP_FLAG.ACK | TCP_FLAG.PSH,
            payload: text,
          }),
        };
      }),
    ];
    for (const { payload } of forged) mouth.send(ethernet({ to: GATEWAY_MAC, from: mouth.mac, payload }));
    const last = marker('query');
    sendDatagram(netns, { address: DNS_IP[f], port: 53 }, last, own);
    expect(await arrives(last)).toBe(true);
    frames.push(...listeners.flatMap((l) => l.received()));
    expect(forged.filter(({ text }) => frames.some((x) => x.includes(text))).map(({ text }) => String(text))).toEqual(
      [],
    );
  });

  test('a Service of the network’s own, with an endpoint of another tenant', async () => {
    const name = `lure${f}`;
    const objects = (address: string): string =>
      [
        {
          apiVersion: 'v1',
          kind: 'Service',
          metadata: { name, namespace: 'a' },
          spec: { ipFamilies: [`IPv${f}`], ports: [{ name: 'x', port: 80, targetPort: 8080 }] },
        },
        {
          apiVersion: 'discovery.k8s.io/v1',
          kind: 'EndpointSlice',
          metadata: { name, namespace: 'a', labels: { 'kubernetes.io/service-name': name } },
          addressType: `IPv${f}`,
          ports: [{ name: 'x', port: 8080, protocol: 'TCP' }],
          endpoints: [{ addresses: [address], conditions: { ready: true } }],
        },
      ]
        .map((o) => JSON.stringify(o))
        .join('\n---\n');
    const vip = async (): Promise<string> =>
      (await lab.kubectl('get', 'svc', '-n', 'a', name, '-o', 'jsonpath={.spec.clusterIP}')).trim();
    const becomes = async (from: string, wanted: string): Promise<string> => {
      const address = await vip();
      return lab.eventually(
        () => lab.connect(from, address, 80),
        (v) => v === wanted,
      );
    };
    // The twin before and after, so that what is between is refused for what it is.
    await lab.apply(objects(await lab.ip('a/q1', f)));
    for (const from of SENDERS) expect([from, await becomes(from, 'open:a/q1')]).toEqual([from, 'open:a/q1']);
    for (const victim of ['b/p1', 'b/p2', 'flat/p1', 'flat/p2']) {
      await lab.apply(objects(await lab.ip(victim, f)));
      for (const from of SENDERS)
        expect([from, victim, await becomes(from, 'rejected')]).toEqual([from, victim, 'rejected']);
    }
    await lab.apply(objects(await lab.ip('a/q1', f)));
    for (const from of SENDERS) expect([from, await becomes(from, 'open:a/q1')]).toEqual([from, 'open:a/q1']);
  });
});
