import { describe, expect, test } from 'vitest';
import { startAgent } from '../../lab/world/lab.ts';
import { pod, shop, useLab } from './lab.ts';

const lab = useLab('svc', { nodes: 2 });

describe('Services, DNS and probes of an isolated network', () => {
  test('set-up', async () => {
    await lab.apply([shop('a'), shop('b'), shop('flat', { isolated: false })].join('\n---\n'));
    // Pods are ready a moment before their Service has them.
    for (const f of [4, 6] as const) {
      const vip = await serviceIp('a', 'web', f);
      for (const from of ['a/p1', 'a/p2'])
        await lab.eventually(
          () => lab.connect(from, vip, 80),
          (v) => v.startsWith('open'),
        );
    }
  });

  test.each([4, 6] as const)(
    'a cluster IP answers on its own network only, and elsewhere it refuses at once (IPv%s)',
    async (f) => {
      const vip = await serviceIp('a', 'web', f);
      for (const from of ['a/p1', 'a/p2'])
        for (const protocol of ['TCP', 'UDP'] as const)
          expect(await lab.connect(from, vip, protocol === 'TCP' ? 80 : 5353, protocol)).toMatch(/^open:a\//);
      for (const from of ['b/p1', 'flat/p1', 'flat/p2'])
        expect([from, await lab.connect(from, vip, 80)]).toEqual([from, 'rejected']);
      expect(await lab.connect('a/p1', vip, 81)).toBe('rejected');
    },
  );

  test.each([4, 6] as const)(
    'hairpin: a pod reaches itself through its own Service, by TCP and UDP (IPv%s)',
    async (f) => {
      await lab.apply(
        [
          pod('a', 'self', { node: 'n1', labels: { app: 'self' } }),
          JSON.stringify({
            apiVersion: 'v1',
            kind: 'Service',
            metadata: { name: 'self', namespace: 'a' },
            spec: {
              ipFamilyPolicy: 'PreferDualStack',
              selector: { app: 'self' },
              ports: [
                { name: 't', port: 80, targetPort: 8080 },
                { name: 'u', port: 53, targetPort: 5353, protocol: 'UDP' },
                { name: 'v', port: 54, targetPort: 5353, protocol: 'UDP' },
              ],
            },
          }),
        ].join('\n---\n'),
      );
      const vip = await serviceIp('a', 'self', f);
      expect(
        await lab.eventually(
          () => lab.connect('a/self', vip, 80),
          (v) => v === 'open:a/self',
        ),
      ).toBe('open:a/self');
      expect(await lab.connect('a/self', vip, 54, 'UDP')).toBe('open:a/self');
      expect(await lab.connect('a/p2', vip, 80)).toBe('open:a/self');
    },
  );

  test('a Service spreads over its pods; with affinity each client stays where it is, and the memory ends with the backend', async () => {
    const vips = { 4: await serviceIp('a', 'web', 4), 6: await serviceIp('a', 'web', 6) };
    const who = async (from: string, n: number, f: 4 | 6 = 4): Promise<Set<string>> => {
      const netns = await lab.netns(from);
      const outcomes = await lab.connectMany(
        Array.from({ length: n }, () => ({
          netns,
          address: vips[f],
          port: 80,
          protocol: 'TCP',
          timeoutMs: 2000,
          identify: true,
        })),
      );
      return new Set(outcomes.map((o) => o.by ?? `${o.verdict} ${o.error} after ${Math.round(o.ms)} ms`));
    };
    expect([...(await who('a/p1', 40))].sort()).toEqual(['a/p1', 'a/p2', 'a/q1']);
    await lab.kubectl('patch', 'svc', 'web', '-n', 'a', '-p', '{"spec":{"sessionAffinity":"ClientIP"}}');
    const stays = await lab.eventually(
      () => who('a/p1', 20),
      (s) => s.size === 1,
    );
    expect([...stays]).toEqual([expect.stringMatching('^a/')]);
    expect([...(await who('a/p1', 20))]).toEqual([...stays]);
    const stays6 = await lab.eventually(
      () => who('a/p1', 20, 6),
      (s) => s.size === 1,
    );
    expect([...stays6]).toEqual([expect.stringMatching('^a/')]);
    // An agent that starts again writes its table anew, and still knows who is with whom.
    for (let i = 0; i < 3; i++) {
      await lab.kill('agent-n1');
      startAgent(lab.spec, 'n1');
      await lab.apply(pod('a', `after-${i}`, { node: 'n1', labels: {} }));
      expect([...(await who('a/p1', 10))]).toEqual([...stays]);
      expect([...(await who('a/p1', 10, 6))]).toEqual([...stays6]);
    }
    const [chosen = ''] = stays;
    await lab.kubectl('label', 'pod', '-n', 'a', chosen.split('/')[1] ?? '', 'app-');
    const after = await lab.eventually(
      () => who('a/p1', 10),
      (s) => !s.has(chosen),
    );
    expect(after).not.toContain(chosen);
    expect([...after].filter((x) => !x.startsWith('a/'))).toEqual([]);
    await lab.kubectl('label', 'pod', '-n', 'a', chosen.split('/')[1] ?? '', 'app=web');
    await lab.kubectl('patch', 'svc', 'web', '-n', 'a', '-p', '{"spec":{"sessionAffinity":"None"}}');
  });

  test('internalTrafficPolicy Local: only backends on the same node', async () => {
    const vip = await serviceIp('a', 'web', 4);
    await lab.kubectl('patch', 'svc', 'web', '-n', 'a', '-p', '{"spec":{"internalTrafficPolicy":"Local"}}');
    const answers = await lab.eventually(
      async () => new Set(await Promise.all(Array.from({ length: 12 }, () => lab.connect('a/p2', vip, 80)))),
      (s) => s.size === 1,
    );
    expect([...answers]).toEqual(['open:a/p2']);
    await lab.kubectl('patch', 'svc', 'web', '-n', 'a', '-p', '{"spec":{"internalTrafficPolicy":"Cluster"}}');
  });

  test('no ready endpoint: refused at once, in the network and in the flat one', async () => {
    for (const ns of ['a', 'flat']) {
      await lab.apply(
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'Service',
          metadata: { name: 'nobody', namespace: ns },
          spec: { selector: { app: 'nobody' }, ports: [{ port: 80 }] },
        }),
      );
      const vip = await serviceIp(ns, 'nobody', 4);
      expect(
        await lab.eventually(
          () => lab.connect(`${ns}/p1`, vip, 80),
          (v) => v === 'rejected',
        ),
      ).toBe('rejected');
    }
  });

  test.each([4, 6] as const)(
    'a NodePort reaches an isolated pod from outside, over either node; the pod port itself stays closed (IPv%s)',
    async (f) => {
      await lab.apply(
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'Service',
          metadata: { name: 'public', namespace: 'b' },
          spec: {
            type: 'NodePort',
            ipFamilyPolicy: 'PreferDualStack',
            selector: { app: 'web' },
            ports: [{ port: 80, targetPort: 8080 }],
          },
        }),
      );
      const port = Number(
        await lab.kubectl('get', 'svc', 'public', '-n', 'b', '-o', 'jsonpath={.spec.ports[0].nodePort}'),
      );
      for (const node of f === 4 ? ['192.0.2.11', '192.0.2.12'] : ['2001:db8:2::11', '2001:db8:2::12']) {
        for (let i = 0; i < 6; i++)
          expect(
            await lab.eventually(
              () => lab.connect({ net: 'outside' }, node, port),
              (v) => v.startsWith('open'),
              5_000,
            ),
          ).toMatch(/^open:b\//);
      }
      expect(
        await lab.connect({ net: 'outside' }, f === 4 ? '192.0.2.11' : '2001:db8:2::11', port + 1, 'TCP', 700),
      ).not.toContain('open');
    },
  );

  test('DNS: Service, headless, StatefulSet and pod records give the addresses that work here; other names are refused', async () => {
    await lab.apply(`
apiVersion: v1
kind: Service
metadata: { name: db, namespace: a }
spec: { clusterIP: None, ipFamilyPolicy: PreferDualStack, selector: { app: db }, ports: [{ name: sql, port: 5432 }] }
---
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: db, namespace: a }
spec:
  serviceName: db
  replicas: 2
  selector: { matchLabels: { app: db } }
  template: { metadata: { labels: { app: db } }, spec: { containers: [{ name: db, image: x, ports: [{ containerPort: 5432 }] }] } }
`);
    const dig = async (name: string, type = 'A'): Promise<string[]> =>
      (await lab.inPod('a/p1', 'dig', '@10.96.0.10', '+short', '+time=2', name, type)).trim().split('\n').sort();
    expect(await dig('web.a.svc.cluster.local')).toEqual([await serviceIp('a', 'web', 4)]);
    expect(await dig('web.a.svc.cluster.local', 'AAAA')).toEqual([await serviceIp('a', 'web', 6)]);
    const [zero, one] = [await lab.ip('a/db-0'), await lab.ip('a/db-1')];
    expect(
      await lab.eventually(
        () => dig('db.a.svc.cluster.local'),
        (a) => a.length === 2,
      ),
    ).toEqual([zero, one].sort());
    expect(await dig('db-1.db.a.svc.cluster.local')).toEqual([one]);
    expect(await dig('db-1.db.a.svc.cluster.local', 'AAAA')).toEqual([await lab.ip('a/db-1', 6)]);
    expect(await dig(`${zero.replaceAll('.', '-')}.a.pod.cluster.local`)).toEqual([zero]);
    expect(await dig('_sql._tcp.db.a.svc.cluster.local', 'SRV')).toEqual([
      expect.stringContaining('db-0.db.a.svc'),
      expect.stringContaining('db-1.db.a.svc'),
    ]);
    expect(await lab.connect('a/p1', one, 5432)).toBe('open:a/db-1');
    expect(await lab.connect('b/p1', one, 5432)).toBe('rejected');
    expect(await lab.inPod('a/p1', 'dig', '@10.96.0.10', 'example.com')).toContain('status: REFUSED');
    expect(await lab.inPod('a/p1', 'dig', '@10.96.0.10', 'nothing.a.svc.cluster.local')).toContain('status: NXDOMAIN');
    expect(await lab.inPod('a/p1', 'dig', '+tcp', '@10.96.0.10', '+short', 'web.a.svc.cluster.local')).toContain(
      '10.96.',
    );
  });

  test('probes of all kinds reach the tenant interface, and an interface that is down fails them', async () => {
    const probe = (name: string, readinessProbe: object): string =>
      pod('a', name, {
        node: 'n1',
        labels: { app: name },
        container: {
          ports: [{ containerPort: 8080, name: 'web' }, { containerPort: 8443 }],
          readinessProbe: { periodSeconds: 1, failureThreshold: 1, ...readinessProbe },
        },
      });
    const kinds = {
      http: { httpGet: { port: 'web', path: '/healthz' } },
      https: { httpGet: { port: 8443, scheme: 'HTTPS' } },
      tcp: { tcpSocket: { port: 8080 } },
      grpc: { grpc: { port: 8080 } },
      exec: { exec: { command: ['true'] } },
    };
    await lab.apply(
      Object.entries(kinds)
        .map(([k, p]) => probe(`probe-${k}`, p))
        .join('\n---\n'),
    );
    // A port on which nobody listens: never ready, with an event that says so.
    await lab.apply(probe('probe-bad', { tcpSocket: { port: 9 } }), { wait: false });
    expect(
      await lab.eventually(
        () => lab.kubectl('get', 'events', '-n', 'a'),
        (e) => e.includes('Readiness probe failed'),
      ),
    ).toContain('Readiness probe failed');
    expect(await lab.kubectl('get', 'pod', '-n', 'a', 'probe-bad')).toContain('0/1');
    await lab.kubectl('delete', 'pod', '-n', 'a', 'probe-bad');
    await lab.inPod('a/probe-http', 'ip', 'link', 'set', 'eth0', 'down');
    expect(
      await lab.eventually(
        () => lab.kubectl('get', 'pod', '-n', 'a', 'probe-http'),
        (t) => t.includes('0/1'),
      ),
    ).toContain('0/1');
    expect(await lab.kubectl('get', 'events', '-n', 'a')).toContain('ExecProbeAssumed');
    await lab.kubectl('delete', 'pod', '-n', 'a', 'probe-http');
  });

  async function serviceIp(ns: string, name: string, family: 4 | 6): Promise<string> {
    const view = await lab.view();
    return view.state.services.get(`${ns}/${name}`)?.clusterIPs.find((ip) => ip.includes(':') === (family === 6)) ?? '';
  }
});
