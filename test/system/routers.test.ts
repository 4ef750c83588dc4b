import { describe, expect, test } from 'vitest';
import { shop, useLab } from './lab.ts';

const lab = useLab('routers', { nodes: 2 });

const router = (namespace: string, name: string, spec: object, labels: object = {}): string =>
  JSON.stringify({
    apiVersion: 'bulkhead.dev/v1alpha1',
    kind: 'VirtualNetworkRouter',
    metadata: { name, namespace, labels },
    spec,
  });
const own = { virtualNetworks: ['default'] };
const pairs = (ns: string, name: string): Promise<string> =>
  lab.kubectl('get', 'vnr', '-n', ns, name, '-o', 'jsonpath={range .status.pairs[*]}{.state} {.message}{"\\n"}{end}');
const ready = (ns: string, name: string): Promise<string> =>
  lab.kubectl('get', 'vnr', '-n', ns, name, '-o', "jsonpath={.status.conditions[?(@.type=='Ready')]}");
const both = [4, 6] as const;

/** Outcomes from a pod to p1 and p2 of a namespace, each family: same node and other node. */
async function across(from: string, to: string): Promise<string[]> {
  const outcomes: string[] = [];
  for (const family of both)
    for (const pod of ['p1', 'p2']) outcomes.push(await lab.connect(from, await lab.ip(`${to}/${pod}`, family), 8080));
  return [...new Set(outcomes.map((o) => o.split(':')[0] ?? ''))];
}

const becomes = (from: string, to: string, outcome: string): Promise<string[]> =>
  lab.eventually(
    () => across(from, to),
    (o) => o.join() === outcome,
    5_000,
  );

describe('routers', () => {
  test('across namespaces both sides must name each other; each side alone opens nothing, and says what is missing', async () => {
    await lab.apply(['a', 'b', 'c'].map((ns) => shop(ns)).join('\n---\n'));
    expect(await across('a/p1', 'b')).toEqual(['rejected']);
    await lab.apply(router('a', 'r', { ...own, import: [{ namespace: 'b', name: 'r' }] }), { wait: false });
    expect(
      await lab.eventually(
        () => ready('a', 'r'),
        (t) => t.includes('Waiting'),
      ),
    ).toMatch(/VirtualNetworkRouter b\/r does not exist/);
    await lab.apply(router('b', 'r', own), { wait: false });
    expect(
      await lab.eventually(
        () => pairs('a', 'r'),
        (t) => t.includes('consent'),
      ),
    ).toMatch(
      /Waiting waits for consent: the owner of VirtualNetworkRouter b\/r must add \{namespace: a, name: r\} to its spec.import/,
    );
    expect(await across('a/p1', 'b')).toEqual(['rejected']);
    expect(await across('b/p2', 'a')).toEqual(['rejected']);
    await lab.apply(router('b', 'r', { ...own, import: [{ namespace: 'a', name: 'r' }] }), { wait: false });
    expect(await becomes('a/p1', 'b', 'open')).toEqual(['open']);
    expect(await across('b/p2', 'a')).toEqual(['open']);
    expect(await across('a/p1', 'c')).toEqual(['rejected']);
    expect(
      await lab.eventually(
        () => pairs('b', 'r'),
        (t) => t.includes('Open'),
      ),
    ).toMatch(/Open pods and Services/);
    expect(await lab.kubectl('get', 'vnr', '-n', 'a')).toMatch(
      /NAME +TYPE +TRAFFIC +READY +OPEN +WAITING +AGE\nr +Mesh +All +True +1 +0 /,
    );
    expect(await lab.differences()).toEqual([]);
  });

  test('never transitive: a-b and b-c are open, a-c is not', async () => {
    await lab.apply(
      [
        router('b', 'second', { ...own, import: [{ namespace: 'c', name: 'r' }] }),
        router('c', 'r', { ...own, import: [{ namespace: 'b', name: 'second' }] }),
      ].join('\n---\n'),
      { wait: false },
    );
    expect(await becomes('c/p1', 'b', 'open')).toEqual(['open']);
    expect(await across('a/p1', 'c')).toEqual(['rejected']);
    expect(await across('c/p1', 'a')).toEqual(['rejected']);
    expect(await lab.differences()).toEqual([]);
  });

  test('removal cuts connections that stand, TCP, UDP and ICMP, and no other', async () => {
    const streams = await Promise.all([lab.hold('a/p1', 'b/p2'), lab.hold('a/p1', 'a/p2'), lab.hold('c/p1', 'b/p1')]);
    const [cut, within, other] = streams;
    try {
      for (const s of streams) expect(await s.alive()).toEqual({ tcp: true, udp: true, icmp: true });
      await lab.kubectl('delete', 'vnr', '-n', 'b', 'r');
      expect(await becomes('a/p1', 'b', 'rejected')).toEqual(['rejected']);
      const dead = { tcp: false, udp: false, icmp: false };
      expect(
        await lab.eventually(
          () => cut.alive(),
          (x) => JSON.stringify(x) === JSON.stringify(dead),
        ),
      ).toEqual(dead);
      expect(await within.alive()).toEqual({ tcp: true, udp: true, icmp: true });
      expect(await other.alive()).toEqual({ tcp: true, udp: true, icmp: true });
    } finally {
      for (const s of streams) s.end();
    }
    await lab.kubectl('delete', 'vnr', '--all', '-A');
    expect(await becomes('c/p1', 'b', 'rejected')).toEqual(['rejected']);
  });

  test('hub and spokes: hub to spoke open, spoke to spoke not; a spoke joins and leaves by a label', async () => {
    await lab.apply(
      [
        router('a', 'hub', {
          type: 'Hub',
          ...own,
          import: [
            {
              namespaceSelector: { matchExpressions: [{ key: 'bulkhead.dev/isolated', operator: 'Exists' }] },
              selector: { matchLabels: { role: 'spoke' } },
            },
          ],
        }),
        ...['b', 'c'].map((ns) =>
          router(ns, 'spoke', { type: 'Spoke', ...own, import: [{ namespace: 'a', name: 'hub' }] }, { role: 'spoke' }),
        ),
      ].join('\n---\n'),
      { wait: false },
    );
    for (const ns of ['b', 'c']) {
      expect(await becomes('a/p1', ns, 'open')).toEqual(['open']);
      expect(await across(`${ns}/p2`, 'a')).toEqual(['open']);
    }
    expect(await across('b/p1', 'c')).toEqual(['rejected']);
    expect(await lab.differences()).toEqual([]);
    await lab.kubectl('label', 'vnr', '-n', 'c', 'spoke', 'role-');
    expect(await becomes('a/p1', 'c', 'rejected')).toEqual(['rejected']);
    expect(await across('a/p1', 'b')).toEqual(['open']);
    await lab.kubectl('label', 'vnr', '-n', 'c', 'spoke', 'role=spoke');
    expect(await becomes('a/p1', 'c', 'open')).toEqual(['open']);
    await lab.kubectl('delete', 'vnr', '--all', '-A');
    expect(await becomes('a/p1', 'c', 'rejected')).toEqual(['rejected']);
  });

  test('ServicesOnly: cluster IPs across, pods not; limited ports: these and no others, no ICMP', async () => {
    const spec = (other: string, more: object): object => ({
      ...own,
      import: [{ namespace: other, name: 'r' }],
      ...more,
    });
    await lab.apply(
      [router('a', 'r', spec('b', { traffic: 'ServicesOnly' })), router('b', 'r', spec('a', {}))].join('\n---\n'),
      { wait: false },
    );
    const cluster = async (ns: string, family: number): Promise<string> =>
      (await lab.kubectl('get', 'svc', '-n', ns, 'web', '-o', `jsonpath={.spec.clusterIPs[${family}]}`)).trim();
    for (const family of [0, 1]) {
      expect(
        await lab.eventually(
          async () => (await lab.connect('a/p1', await cluster('b', family), 80)).split(':')[0],
          (o) => o === 'open',
        ),
      ).toBe('open');
      expect((await lab.connect('b/p2', await cluster('a', family), 80)).split(':')[0]).toBe('open');
    }
    expect(await across('a/p1', 'b')).toEqual(['rejected']);
    expect(await across('b/p1', 'a')).toEqual(['rejected']);
    expect(await lab.differences()).toEqual([]);
    await lab.apply(
      [
        router('a', 'r', spec('b', { traffic: 'All', ports: [{ port: 8000, endPort: 8100 }] })),
        router('b', 'r', spec('a', { ports: [{ port: 8080 }, { port: 9 }] })),
      ].join('\n---\n'),
      { wait: false },
    );
    expect(await becomes('a/p1', 'b', 'open')).toEqual(['open']);
    for (const family of both) {
      expect(await lab.connect('a/p1', await lab.ip('b/p2', family), 5353, 'UDP')).toBe('rejected');
      expect(await lab.connect('a/p1', await lab.ip('b/p2', family), 0, 'ICMP')).toBe('rejected');
      expect(await lab.connect('a/p1', await lab.ip('a/p2', family), 0, 'ICMP')).toBe('open');
    }
    expect(await lab.differences()).toEqual([]);
    await lab.kubectl('delete', 'vnr', '--all', '-A');
  });

  test('the flat network as a member, for chosen namespaces, with their consent', async () => {
    await lab.apply(
      [
        shop('mon', { isolated: false, labels: { team: 'ops' } }),
        shop('plain', { isolated: false, labels: { team: 'ops' } }),
      ].join('\n---\n'),
    );
    expect(await across('mon/p1', 'a')).toEqual(['rejected']);
    await lab.apply(
      [
        router('mon', 'watch', {
          type: 'Hub',
          defaultNetwork: { namespaceSelector: { matchLabels: { team: 'ops' } } },
          import: [{ namespace: 'a', name: 'watched' }],
        }),
        router('a', 'watched', { type: 'Spoke', ...own, import: [{ namespace: 'mon', name: 'watch' }] }),
      ].join('\n---\n'),
      { wait: false },
    );
    expect(await becomes('mon/p2', 'a', 'open')).toEqual(['open']);
    expect(await across('a/p1', 'mon')).toEqual(['open']);
    expect(await across('plain/p1', 'a')).toEqual(['rejected']);
    expect(await across('a/p1', 'plain')).toEqual(['rejected']);
    expect(await ready('mon', 'watch')).toMatch(
      /namespace plain does not consent: its annotation bulkhead.dev\/routers must name mon\/watch/,
    );
    expect(await lab.differences()).toEqual([]);
    await lab.kubectl('annotate', 'ns', 'plain', 'bulkhead.dev/routers=mon/watch');
    expect(await becomes('plain/p1', 'a', 'open')).toEqual(['open']);
    expect(await lab.kubectl('get', 'vnr', '-n', 'mon', 'watch', '-o', 'wide')).toMatch(/default-network/);
    expect(await lab.differences()).toEqual([]);
    await lab.kubectl('delete', 'vnr', '--all', '-A');
    expect(await becomes('plain/p1', 'a', 'rejected')).toEqual(['rejected']);
  });

  test('what cannot connect says why, and leaves the rest alone', async () => {
    await lab.apply(
      [
        router('a', 'hub', {
          type: 'Hub',
          virtualNetworks: ['default', 'nowhere'],
          import: [
            { namespace: 'b', name: 'mesh' },
            { namespace: 'c', name: 'ok' },
          ],
        }),
        router('b', 'mesh', { ...own, import: [{ namespace: 'a', name: 'hub' }] }),
        router('c', 'ok', { type: 'Spoke', ...own, import: [{ namespace: 'a', name: 'hub' }] }),
      ].join('\n---\n'),
      { wait: false },
    );
    expect(await becomes('a/p1', 'c', 'open')).toEqual(['open']);
    expect(await across('a/p1', 'b')).toEqual(['rejected']);
    const told = await lab.eventually(
      () => ready('a', 'hub'),
      (t) => t.includes('Refused'),
    );
    expect(told).toMatch(/VirtualNetwork a\/nowhere does not exist/);
    expect(told).toMatch(/a\/hub is a Hub and b\/mesh a Mesh: only Mesh with Mesh, and Hub with Spoke, connect/);
    await expect(
      lab.apply(router('a', 'bad', { type: 'Star', ports: [{ port: 0 }] }), { wait: false }),
    ).rejects.toThrow(/spec\.type: must be one of "Mesh", "Hub", "Spoke"[\s\S]*spec\.ports\[0\]\.port/);
    await lab.kubectl('delete', 'vnr', '--all', '-A');
  });
});
