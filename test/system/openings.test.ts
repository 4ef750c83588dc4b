import { describe, expect, test } from 'vitest';
import { HeldConnection } from './held.ts';
import { bulkheadConfig, pod, shop, useLab, virtualNetwork } from './lab.ts';

// What a network opens: Services of all kinds, other networks' interfaces, ways out of the cluster.

const lab = useLab('open', { nodes: 2 });
const families = [4, 6] as const;
const service = (namespace: string, name: string, spec: object, metadata: object = {}): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace, ...metadata },
    spec: {
      ipFamilyPolicy: 'PreferDualStack',
      selector: { app: 'web' },
      ports: [{ name: 't', port: 80, targetPort: 8080 }],
      ...spec,
    },
  });
const clusterIp = async (ns: string, name: string, family: 4 | 6): Promise<string> =>
  (
    await lab.kubectl('get', 'svc', '-n', ns, name, '-o', `jsonpath={.spec.clusterIPs[${family === 4 ? 0 : 1}]}`)
  ).trim();
const verdict = async (
  from: string,
  address: string,
  port: number,
  protocol: 'TCP' | 'UDP' | 'ICMP' = 'TCP',
): Promise<string> => (await lab.connect(from, address, port, protocol)).split(':')[0] ?? '';
const becomes = (from: string, address: string, port: number, wanted: string): Promise<string> =>
  lab.eventually(
    () => verdict(from, address, port),
    (v) => v === wanted,
  );
const patchNetwork = (ns: string, spec: object): Promise<string> =>
  lab.kubectl('patch', 'vn', 'default', '-n', ns, '--type=merge', '-p', JSON.stringify({ spec }));
const OUTSIDE = { 4: '203.0.113.10', 6: '2001:db8::10' } as const;

describe('what a network opens', () => {
  test('external and load balancer addresses: for its own pods, for outsiders, within the source ranges, and closed to other networks when it says so', async () => {
    await lab.apply([shop('a'), shop('b'), shop('flat', { isolated: false })].join('\n---\n'));
    const EXTERNAL = { 4: '198.51.100.7', 6: '2001:db8:51::7' } as const;
    const BALANCED = { 4: '198.51.100.8', 6: '2001:db8:51::8' } as const;
    await lab.apply(
      [
        bulkheadConfig({ services: { externalIPs: ['198.51.100.0/24', '2001:db8:51::/64'] } }),
        service('a', 'outer', { externalIPs: [EXTERNAL[4], EXTERNAL[6]] }),
        service('a', 'lb', { type: 'LoadBalancer', loadBalancerSourceRanges: ['10.244.2.0/24', 'fd00:10:244:2::/64'] }),
      ].join('\n---\n'),
    );
    await lab.kubectl(
      'patch',
      'svc',
      '-n',
      'a',
      'lb',
      '--subresource=status',
      '--type=merge',
      '-p',
      JSON.stringify({ status: { loadBalancer: { ingress: [{ ip: BALANCED[4] }, { ip: BALANCED[6] }] } } }),
    );
    for (const f of families) {
      for (const from of ['a/p1', 'a/p2', 'flat/p1', 'flat/p2'])
        expect([from, f, await becomes(from, EXTERNAL[f], 80, 'open')]).toEqual([from, f, 'open']);
      expect(await verdict('b/p1', EXTERNAL[f], 80)).toBe('rejected');
      expect(await verdict('a/p1', EXTERNAL[f], 81)).not.toBe('open');
      const [one, two] = [await lab.ip('a/p1', f), await lab.ip('a/p2', f)];
      const inRange = (ip: string): boolean => ip.startsWith('10.244.2.') || ip.startsWith('fd00:10:244:2:');
      for (const [name, ip] of [
        ['a/p1', one],
        ['a/p2', two],
      ] as const)
        expect([name, ip, await verdict(name, BALANCED[f], 80)]).toEqual([name, ip, inRange(ip) ? 'open' : 'closed']);
    }
    expect(await lab.differences()).toEqual([]);
    await patchNetwork('a', { services: { nodePortAccess: 'External' } });
    await patchNetwork('b', { egress: { mode: 'NAT' } });
    for (const f of families) {
      expect(await becomes('flat/p1', EXTERNAL[f], 80, 'rejected')).toBe('rejected');
      expect(await verdict('flat/p2', EXTERNAL[f], 80)).toBe('rejected');
      expect(await becomes('b/p1', OUTSIDE[f], 80, 'open')).toBe('open');
      expect(await verdict('b/p1', EXTERNAL[f], 80)).toBe('rejected');
      expect(await verdict('a/p2', EXTERNAL[f], 80)).toBe('open');
    }
    expect(await lab.differences()).toEqual([]);
    await patchNetwork('a', { services: { nodePortAccess: 'All' } });
    for (const f of families) {
      expect(await becomes('flat/p1', EXTERNAL[f], 80, 'open')).toBe('open');
      for (const pod_ of ['b/p1', 'b/p2'])
        expect([pod_, await verdict(pod_, EXTERNAL[f], 80)]).toEqual([pod_, 'rejected']);
    }
    expect(await lab.differences()).toEqual([]);
    await patchNetwork('b', { egress: { mode: 'None' } });
    await lab.kubectl('delete', 'svc', '-n', 'a', 'outer', 'lb');
  });

  test('a Service on another network than its namespace: only endpoints there, by whichever interface', async () => {
    await lab.apply(
      [
        virtualNetwork('a', 'storage', { subnets: ['10.50.0.0/24', 'fd00:50::/64'] }),
        pod('a', 'first', { node: 'n1', labels: { app: 'store' }, annotations: { 'bulkhead.dev/network': 'storage' } }),
        pod('a', 'second', {
          node: 'n2',
          labels: { app: 'store' },
          annotations: { 'k8s.v1.cni.cncf.io/networks': 'storage' },
        }),
        pod('a', 'stranger', { node: 'n1', labels: { app: 'store' } }),
        pod('a', 'client', { node: 'n2', labels: {}, annotations: { 'bulkhead.dev/network': 'storage' } }),
        service('a', 'store', { selector: { app: 'store' } }, { annotations: { 'bulkhead.dev/network': 'storage' } }),
        service('a', 'odd', { selector: { app: 'store' } }, { annotations: { 'bulkhead.dev/network': 'nowhere' } }),
      ].join('\n---\n'),
    );
    for (const f of families) {
      const ip = await clusterIp('a', 'store', f);
      const seen = new Set<string>();
      await lab.eventually(
        async () => seen.add(await lab.connect('a/client', ip, 80)),
        (s) => s.has('open:a/first') && s.has('open:a/second'),
      );
      expect([...seen].filter((s) => s.startsWith('open')).sort()).toEqual(['open:a/first', 'open:a/second']);
      expect(await verdict('a/p1', ip, 80)).toBe('rejected');
      expect(await verdict('a/client', await clusterIp('a', 'web', f), 80)).toBe('rejected');
    }
    expect(await lab.differences()).toEqual([]);
    const events = (): Promise<string> =>
      lab.kubectl(
        'get',
        'events',
        '-n',
        'a',
        '-o',
        'custom-columns=R:.reason,O:.involvedObject.name,M:.message',
        '--no-headers',
      );
    expect(await lab.eventually(events, (e) => e.includes('Service a/odd') || / odd /.test(e))).toMatch(
      /NetworkNotFound +odd .*a\/nowhere does not exist/,
    );
    await lab.kubectl('delete', 'pod', '-n', 'a', 'first', 'second', 'stranger', 'client');
    await lab.kubectl('delete', 'svc', '-n', 'a', 'store', 'odd');
  });

  test('datagrams with one source port go on through every change of the backends', async () => {
    await lab.apply(
      [
        pod('a', 'u1', { node: 'n1', labels: { app: 'udp' } }),
        service('a', 'udp', { selector: { app: 'udp' }, ports: [{ name: 'd', port: 5353, protocol: 'UDP' }] }),
      ].join('\n---\n'),
    );
    for (const f of families) {
      const held = new HeldConnection(await lab.netns('a/p2'), await clusterIp('a', 'udp', f));
      const udp = (wanted: boolean): Promise<boolean> =>
        lab.eventually(
          async () => (await held.alive()).udp,
          (alive) => alive === wanted,
        );
      try {
        expect(await udp(true)).toBe(true);
        await lab.apply(pod('a', 'u2', { node: 'n2', labels: { app: 'udp' } }));
        await lab.kubectl('delete', 'pod', '-n', 'a', 'u1', '--wait=false');
        expect(await udp(true)).toBe(true);
        await lab.kubectl('delete', 'pod', '-n', 'a', 'u2');
        expect(await udp(false)).toBe(false);
        await lab.apply(pod('a', 'u1', { node: 'n1', labels: { app: 'udp' } }));
        expect(await udp(true)).toBe(true);
      } finally {
        held.end();
      }
    }
  });

  test('publishNotReadyAddresses and named ports', async () => {
    const container = {
      ports: [{ containerPort: 8080, name: 'http' }],
      readinessProbe: { httpGet: { path: '/', port: 9999 }, periodSeconds: 1 },
    };
    await lab.apply(
      [
        pod('a', 'starting', { node: 'n1', labels: { app: 'starting' }, container }),
        service('a', 'early', {
          selector: { app: 'starting' },
          publishNotReadyAddresses: true,
          ports: [{ port: 80, targetPort: 'http' }],
        }),
        service('a', 'late', { selector: { app: 'starting' }, ports: [{ port: 80, targetPort: 'http' }] }),
      ].join('\n---\n'),
      { wait: false },
    );
    for (const f of families) {
      expect(await becomes('a/p2', await clusterIp('a', 'early', f), 80, 'open')).toBe('open');
      expect(await verdict('a/p2', await clusterIp('a', 'late', f), 80)).toBe('rejected');
    }
    await lab.kubectl('delete', 'pod', '-n', 'a', 'starting');
    await lab.kubectl('delete', 'svc', '-n', 'a', 'early', 'late');
  });

  test('ports that a pod opens to namespaces of the flat network, with the Service in front', async () => {
    await lab.apply([shop('mon', { isolated: false })].join('\n---\n'));
    const annotations = { 'bulkhead.dev/open-ports': '8080/TCP, 9000-9010/UDP', 'bulkhead.dev/open-to': 'mon' };
    await lab.apply(
      [
        pod('a', 'open1', { node: 'n1', labels: { app: 'opened' }, annotations }),
        pod('a', 'open2', { node: 'n2', labels: { app: 'opened' }, annotations }),
        pod('a', 'wrong', { node: 'n2', labels: {} }),
        service('a', 'opened', { selector: { app: 'opened' } }),
      ].join('\n---\n'),
    );
    const wrong = { 'bulkhead.dev/open-ports': 'http' };
    await expect(lab.apply(pod('a', 'refused', { annotations: wrong }))).rejects.toThrow(/"http" is no port/);
    await lab.kubectl('annotate', 'pod', '-n', 'a', 'wrong', 'bulkhead.dev/open-ports=http'); // admission judges new pods only
    for (const f of families) {
      for (const to of ['a/open1', 'a/open2'])
        for (const from of ['mon/p1', 'mon/p2']) {
          const ip = await lab.ip(to, f);
          expect([from, to, await becomes(from, ip, 8080, 'open')]).toEqual([from, to, 'open']);
          expect(await verdict(from, ip, 5353, 'UDP')).toBe('rejected');
          expect(await verdict(from, ip, 0, 'ICMP')).toBe('rejected');
          for (const other of ['flat/p1', 'flat/p2', 'b/p1']) expect(await verdict(other, ip, 8080)).toBe('rejected');
        }
      expect(await verdict('mon/p1', await clusterIp('a', 'opened', f), 80)).toBe('open');
      expect(await verdict('flat/p1', await clusterIp('a', 'opened', f), 80)).toBe('rejected');
      expect(await verdict('mon/p1', await lab.ip('a/p2', f), 8080)).toBe('rejected');
    }
    expect(await lab.differences()).toEqual([]);
    expect(
      await lab.eventually(
        () => lab.kubectl('get', 'events', '-n', 'a'),
        (e) => e.includes('opens nothing'),
      ),
    ).toMatch(
      /pod a\/wrong opens nothing: annotation bulkhead.dev\/open-ports: "http" is no port; write 8080\/TCP or 9000-9010\/UDP/,
    );
    await lab.kubectl('delete', 'pod', '-n', 'a', 'open1', 'open2', 'wrong');
  });

  test('all Services of the flat network, or only those of the list', async () => {
    for (const f of families) {
      const flat = await clusterIp('flat', 'web', f);
      expect(await verdict('a/p1', flat, 80)).toBe('rejected');
      await patchNetwork('a', { services: { access: 'DefaultNetwork' } });
      expect(await becomes('a/p1', flat, 80, 'open')).toBe('open');
      expect(await verdict('a/p1', await lab.ip('flat/p1', f), 8080)).toBe('rejected');
      expect(await verdict('a/p1', await clusterIp('b', 'web', f), 80)).toBe('rejected');
      expect(await verdict('b/p1', flat, 80)).toBe('rejected');
      expect(await lab.differences()).toEqual([]);
      await patchNetwork('a', { services: { access: 'AllowList' } });
      expect(await becomes('a/p1', flat, 80, 'rejected')).toBe('rejected');
    }
  });

  test("a network's MTU: exact sizes pass, larger ones are refused, and the error reaches the pod from the other end of a router too", async () => {
    const on = (name: string) => ({ 'bulkhead.dev/network': name });
    await lab.apply(
      [
        virtualNetwork('a', 'wide'),
        virtualNetwork('a', 'narrow', { mtu: 1300 }),
        ...['n1', 'n2'].flatMap((node) =>
          ['wide', 'narrow'].map((n) => pod('a', `${n}-${node}`, { node, labels: {}, annotations: on(n) })),
        ),
        JSON.stringify({
          apiVersion: 'bulkhead.dev/v1alpha1',
          kind: 'VirtualNetworkRouter',
          metadata: { name: 'widths', namespace: 'a' },
          spec: { virtualNetworks: ['wide', 'narrow'] },
        }),
      ].join('\n---\n'),
    );
    expect(await lab.inPod('a/narrow-n1', 'ip', 'link', 'show', 'eth0')).toContain('mtu 1300');
    for (const f of families) {
      const overhead = f === 4 ? 28 : 48;
      const ping = (from: string, to: string, mtu: number): Promise<string> =>
        lab.inPod(from, 'sh', '-c', `ping -n -c2 -i0.2 -W1 -M do -s ${mtu - overhead} ${to} 2>&1 || true`);
      await becomes('a/wide-n1', await lab.ip('a/narrow-n2', f), 8080, 'open');
      for (const to of ['a/narrow-n1', 'a/narrow-n2']) {
        const ip = await lab.ip(to, f);
        expect(await ping('a/narrow-n1', ip, 1300)).toMatch(/ 0% packet loss/);
        if (to !== 'a/narrow-n1') expect(await ping('a/narrow-n1', ip, 1301)).toMatch(/too long|mtu.?=? ?1300/i);
        expect(await ping('a/wide-n1', ip, 1300)).toMatch(/ 0% packet loss/);
        // Fragmentation needed, or packet too big: from the gate of the narrow network, with its size.
        expect(await ping('a/wide-n1', ip, 1400)).toMatch(/mtu ?= ?1300/i);
      }
      expect(await ping('a/wide-n1', await lab.ip('a/wide-n2', f), 1400)).toMatch(/ 0% packet loss/);
    }
    await lab.kubectl('delete', 'vnr', '-n', 'a', 'widths');
    await lab.kubectl('delete', 'pod', '-n', 'a', 'wide-n1', 'wide-n2', 'narrow-n1', 'narrow-n2');
  });

  test('the way out: by prefix and port, and taken away from connections that stand', async () => {
    for (const f of families) {
      const bits = f === 4 ? '/32' : '/128';
      const elsewhere = f === 4 ? '203.0.113.1' : '2001:db8::1';
      expect(await verdict('a/p1', OUTSIDE[f], 80)).toBe('rejected');
      await patchNetwork('a', {
        egress: { mode: 'NAT', allow: [{ cidr: `${OUTSIDE[f]}${bits}`, ports: [{ port: 80 }] }] },
      });
      expect(await becomes('a/p1', OUTSIDE[f], 80, 'open')).toBe('open');
      expect(await becomes('a/p2', OUTSIDE[f], 80, 'open')).toBe('open');
      expect(await verdict('a/p1', OUTSIDE[f], 7, 'UDP')).toBe('rejected');
      expect(await verdict('a/p1', elsewhere, 0, 'ICMP')).toBe('rejected');
      expect(await verdict('a/p1', OUTSIDE[f], 0, 'ICMP')).toBe('rejected');
      expect(await lab.differences()).toEqual([]);
      await patchNetwork('a', { egress: { mode: 'NAT', allow: null } });
      expect(await becomes('a/p1', elsewhere, 0, 'rejected')).not.toBe('x');
      expect(
        await lab.eventually(
          () => verdict('a/p1', elsewhere, 0, 'ICMP'),
          (v) => v === 'open',
        ),
      ).toBe('open');
      const held = new HeldConnection(await lab.netns('a/p1'), OUTSIDE[f], 7, 80);
      const inside = await lab.hold('a/p1', 'a/p2', f);
      try {
        expect(
          (
            await lab.eventually(
              () => held.alive(),
              (x) => x.udp && x.icmp,
            )
          ).udp,
        ).toBe(true);
        await patchNetwork('a', { egress: { mode: 'None' } });
        expect(
          await lab.eventually(
            () => held.alive(),
            (x) => !x.udp && !x.icmp,
          ),
        ).toMatchObject({ udp: false, icmp: false });
        expect(await inside.alive()).toEqual({ tcp: true, udp: true, icmp: true });
      } finally {
        held.end();
        inside.end();
      }
    }
    expect(await lab.differences()).toEqual([]);
  });
});
