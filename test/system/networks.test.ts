import { afterAll, describe, expect, test } from 'vitest';
import { ExecError } from '../../lib/exec/exec.ts';
import { pod, shop, TestLab, useLab } from './lab.ts';

const lab = useLab('net', { admission: false, nodes: 2 });
const namespace = (name: string, metadata: object = {}): string =>
  JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, ...metadata } });
const network = (ns: string, name: string, spec: object = {}): string =>
  JSON.stringify({
    apiVersion: 'bulkhead.dev/v1alpha1',
    kind: 'VirtualNetwork',
    metadata: { name, namespace: ns },
    spec,
  });
const on = (ref: string) => ({ annotations: { 'bulkhead.dev/network': ref } });
const events = (ns: string): Promise<string> =>
  lab.kubectl(
    'get',
    'events',
    '-n',
    ns,
    '-o',
    'custom-columns=R:.reason,O:.involvedObject.name,M:.message',
    '--no-headers',
  );
const ready = (ns: string, name: string): Promise<string> => lab.kubectl('get', 'pod', '-n', ns, name, '--no-headers');

describe('named networks', () => {
  test('for a namespace, and for one pod: the pod wins; same network open, other network refused', async () => {
    await lab.apply(
      [
        namespace('n', { annotations: { 'bulkhead.dev/network': 'blue' } }),
        network('n', 'blue'),
        network('n', 'green'),
      ].join('\n---\n'),
    );
    await lab.apply(
      [
        pod('n', 'b1', { node: 'n1' }),
        pod('n', 'b2', { node: 'n2' }),
        pod('n', 'g1', { node: 'n1', ...on('green') }),
        pod('n', 'g2', { node: 'n2', ...on('n/green') }),
      ].join('\n---\n'),
    );
    for (const f of [4, 6] as const) {
      expect(await lab.connect('n/b1', await lab.ip('n/b2', f), 8080)).toBe('open:n/b2');
      expect(await lab.connect('n/g2', await lab.ip('n/g1', f), 8080)).toBe('open:n/g1');
      for (const [from, to] of [
        ['b1', 'g1'],
        ['b1', 'g2'],
        ['g1', 'b1'],
        ['g1', 'b2'],
      ] as const)
        expect(await lab.connect(`n/${from}`, await lab.ip(`n/${to}`, f), 8080)).toBe('rejected');
    }
  });

  test("another namespace's network needs its owner's grant: without it the pod waits and is told why; with it, it starts by itself", async () => {
    await lab.apply(
      [namespace('owner'), namespace('guest', { labels: { team: 'x' } }), network('owner', 'shared')].join('\n---\n'),
    );
    await lab.apply(pod('owner', 'host', { node: 'n1', ...on('shared') }));
    await lab.apply(pod('guest', 'visitor', { node: 'n2', ...on('owner/shared') }), { wait: false });
    expect(
      await lab.eventually(
        () => events('guest'),
        (e) => e.includes('NetworkNotShared'),
      ),
    ).toMatch(
      /NetworkNotShared +visitor +VirtualNetwork owner\/shared is not shared with namespace guest; its owner must add spec.sharedWith/,
    );
    expect(await ready('guest', 'visitor')).toContain('0/1');
    await lab.kubectl(
      'patch',
      'vn',
      'shared',
      '-n',
      'owner',
      '--type=merge',
      '-p',
      '{"spec":{"sharedWith":{"matchLabels":{"team":"x"}}}}',
    );
    await lab.ready();
    expect(await lab.connect('guest/visitor', await lab.ip('owner/host'), 8080)).toBe('open:owner/host');
  });

  test('a pod that names a missing network waits, an event names it, and the pod starts when the network comes', async () => {
    await lab.apply(namespace('late'));
    await lab.apply(pod('late', 'early', on('soon')), { wait: false });
    expect(
      await lab.eventually(
        () => events('late'),
        (e) => e.includes('FailedCreatePodSandBox'),
      ),
    ).toMatch(/NetworkNotFound +early +VirtualNetwork late\/soon does not exist; create it/);
    await lab.apply(network('late', 'soon'));
    expect(await ready('late', 'early')).toContain('1/1');
  });

  test('what cannot be understood is told, holds up that pod, and nothing else', async () => {
    await lab.apply(
      [namespace('bad'), namespace('odd', { labels: { 'bulkhead.dev/isolated': 'maybe' } })].join('\n---\n'),
    );
    await lab.apply(
      [
        pod('bad', 'list', on('a,b')),
        pod('bad', 'twice', { annotations: { 'bulkhead.dev/network': 'a', 'net.juniper.contrail.podnetwork': 'b' } }),
        pod('odd', 'p', {}),
      ].join('\n---\n'),
      { wait: false },
    );
    await lab.apply(pod('bad', 'fine'), { wait: false });
    expect(
      await lab.eventually(
        () => events('bad'),
        (e) => e.includes('InvalidAnnotation') && e.includes('ConflictingNetworks'),
      ),
    ).toMatch(/InvalidAnnotation +list .*write "name" or "namespace\/name"/);
    expect(await events('bad')).toMatch(/ConflictingNetworks +twice .*keep one of them/);
    expect(await lab.kubectl('get', 'events', '-A')).toMatch(
      /InvalidAnnotation .*namespace\/odd .*write "true" or "false"/,
    );
    expect(
      await lab.eventually(
        () => ready('bad', 'fine'),
        (t) => t.includes('1/1'),
      ),
    ).toContain('1/1');
    for (const [ns, name] of [
      ['bad', 'list'],
      ['bad', 'twice'],
      ['odd', 'p'],
    ] as const)
      expect(await ready(ns, name)).toContain('0/1');
    await lab.kubectl('delete', 'ns', 'bad', 'odd');
  });

  test('malformed objects are refused with the field and the remedy', async () => {
    const refused = async (yaml: string): Promise<string> => {
      try {
        await lab.apply(yaml, { wait: false });
        return 'applied';
      } catch (error) {
        return (error as Error).message;
      }
    };
    expect(await refused(network('n', 'x', { egress: { mode: 'Wild' } }))).toMatch(
      /spec\.egress\.mode: must be one of "None", "NAT", "Routed"/,
    );
    expect(await refused(network('n', 'x', { colour: 'blue', mtu: 9 }))).toMatch(
      /unknown field "colour"[\s\S]*spec\.mtu: must be >= 1280/,
    );
    expect(await refused(network('n', 'x'.repeat(64)))).toMatch(/name must have at most 63/);
    expect(await refused(namespace('Upper'))).toMatch(/metadata\.name/);
    expect(await refused(network('nowhere', 'x'))).toMatch(/namespaces "nowhere" not found/);
    expect(await refused('{"apiVersion":"v9","kind":"Dream","metadata":{"name":"x"}}')).toMatch(/v9 is not served/);
    expect(
      await refused(
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: 'x', namespace: 'n' },
          spec: { containers: [{ name: 'c', ports: [{ containerPort: 99_999 }] }] },
        }),
      ),
    ).toMatch(/spec\.containers\[0\]\.ports\[0\]\.containerPort/);
    // A network whose spec the API lets through and we cannot give says so.
    await lab.apply(network('n', 'future', { addressing: 'Private' }), { wait: false });
    expect(
      await lab.eventually(
        () => lab.kubectl('get', 'vn', '-n', 'n', 'future', '-o', 'wide'),
        (t) => t.includes('InvalidSpec'),
      ),
    ).toContain('False');
  });

  test('a network in use is not deleted, and says by whom; a namespace with its network goes at once, twenty together', async () => {
    await lab.kubectl('delete', 'vn', 'green', '-n', 'n', '--wait=false');
    expect(
      await lab.eventually(
        () => lab.kubectl('get', 'vn', '-n', 'n', 'green', '-o', 'jsonpath={.status.conditions[0].message}'),
        (m) => m.includes('waits'),
      ),
    ).toMatch(/waits for 2 pod\(s\): n\/g1, n\/g2; delete them/);
    expect(await lab.connect('n/g2', await lab.ip('n/g1'), 8080)).toBe('open:n/g1');
    await lab.kubectl('delete', 'pod', '-n', 'n', 'g1', 'g2');
    expect(
      await lab.eventually(
        () => lab.kubectl('get', 'vn', '-n', 'n', '--no-headers'),
        (t) => !t.includes('green'),
      ),
    ).not.toContain('green');
    const many = Array.from({ length: 20 }, (_, i) => `many-${i}`);
    await lab.apply(
      many
        .flatMap((ns) => [namespace(ns, { labels: { 'bulkhead.dev/isolated': 'true' } }), pod(ns, 'p')])
        .join('\n---\n'),
    );
    await lab.kubectl('delete', 'ns', ...many);
    expect(await lab.kubectl('get', 'ns')).not.toContain('many-');
    const left = await lab.eventually(
      () => lab.onNode('n1', 'ip', 'netns'),
      (t) => t.split('\n').filter((l) => l.startsWith('bh-')).length <= 3,
    );
    expect(left.split('\n').filter((l) => l.startsWith('bh-')).length).toBeLessThanOrEqual(3);
  });

  test('a namespace that is deleted and made again at once works as if it were new, on every node, while other pods come', async () => {
    for (const round of [1, 2, 3]) {
      await Promise.all([
        lab.apply([shop('again'), pod('again', 'p3', { node: 'n1' })].join('\n---\n')),
        lab.apply([pod('n', `r${round}a`, { node: 'n1' }), pod('n', `r${round}b`, { node: 'n2' })].join('\n---\n')),
      ]);
      for (const from of ['again/p1', 'again/p3'])
        expect(await lab.connect(from, await lab.ip('again/p2'), 8080)).toBe('open:again/p2');
      expect(await lab.connect('n/b1', await lab.ip('again/p1'), 8080)).toBe('rejected');
      await lab.kubectl('delete', 'ns', 'again');
    }
  });

  test('a network comes back to a node although something still has its former namespace open', async () => {
    await lab.apply(
      [
        namespace('back', { labels: { 'bulkhead.dev/isolated': 'true' } }),
        pod('back', 'stay', { node: 'n2' }),
        pod('back', 'p', { node: 'n1' }),
      ].join('\n---\n'),
    );
    const vni = await lab.kubectl('get', 'vn', '-n', 'back', 'default', '-o', 'jsonpath={.status.vni}');
    const instances = (): Promise<string> => lab.onNode('n1', 'ip', 'netns');
    const holder = await lab.onNode('n1', 'sh', '-c', `sleep 300 3< /run/netns/bh-${vni} > /dev/null 2>&1 & echo $!`);
    await lab.kubectl('delete', 'pod', '-n', 'back', 'p');
    expect(await lab.eventually(instances, (t) => !t.includes(`bh-${vni} `), 40_000)).not.toMatch(
      new RegExp(`bh-${vni}\\b`),
    );
    await lab.apply(pod('back', 'p', { node: 'n1' }));
    expect(await lab.connect('back/p', await lab.ip('back/stay'), 8080)).toBe('open:back/stay');
    await lab.onNode('n1', 'kill', holder.trim());
  });

  test('the label on a namespace with running pods changes nothing for them; new pods are isolated', async () => {
    await lab.apply(shop('turn', { isolated: false }));
    await lab.kubectl('label', 'ns', 'turn', 'bulkhead.dev/isolated=true');
    await lab.apply(pod('turn', 'fresh', { node: 'n1' }));
    expect(await lab.connect('turn/p1', await lab.ip('turn/p2'), 8080)).toBe('open:turn/p2');
    expect(await lab.connect('turn/fresh', await lab.ip('turn/p1'), 8080)).toBe('rejected');
  });

  test('many small networks fit on one node: blocks get smaller as room gets short', async () => {
    const pods = Array.from({ length: 16 }, (_, i) => [
      namespace(`full-${i}`, { labels: { 'bulkhead.dev/isolated': 'true' } }),
      pod(`full-${i}`, 'p', { node: 'n2' }),
    ]).flat();
    await lab.apply(pods.join('\n---\n'));
    expect(await lab.kubectl('get', 'ablk', '-o', 'jsonpath={.items[*].spec.cidr}')).toMatch(/\/(30|31|32)/);
  });

  test('exit codes and messages of kubectl', async () => {
    await expect(lab.kubectl('get', 'pod', '-n', 'n', 'nope')).rejects.toThrow(/pods "nope" not found/);
    await expect(lab.kubectl('logs', '-n', 'n', 'b1')).rejects.toThrow(/bulkhead lab exec/);
    await expect(lab.kubectl('get', 'dreams')).rejects.toBeInstanceOf(ExecError);
  });
});

describe('an exhausted node', () => {
  const small = new TestLab('small');
  afterAll(() => small.down());

  test('says so, in an event that names the network; the pod waits, all else goes on, and it starts when room is there', async () => {
    await small.up('ipv4', 1, [], 28);
    const names = Array.from({ length: 14 }, (_, i) => `p${i}`);
    await small.apply(namespace('full', { labels: { 'bulkhead.dev/isolated': 'true' } }));
    await small.apply(names.map((n) => pod('full', n)).join('\n---\n'), { wait: false });
    const told = await small.eventually(
      () => small.kubectl('get', 'events', '-n', 'full'),
      (e) => e.includes('no free address'),
    );
    expect(told).toMatch(
      /FailedCreatePodSandBox .*no free address for network full\/default in 10\.244\.\d+\.\d+\/28 of this node; delete pods, or wait/,
    );
    const running = async (): Promise<string[]> =>
      (await small.kubectl('get', 'pods', '-n', 'full', '--no-headers'))
        .split('\n')
        .filter((l) => l.includes('1/1'))
        .map((l) => l.split(' ')[0] ?? '');
    const up = await small.eventually(running, (r) => r.length >= 8);
    expect(up.length).toBeGreaterThanOrEqual(8);
    expect(up.length).toBeLessThan(14);
    expect(await small.connect(`full/${up[0]}`, await small.ip(`full/${up[1]}`), 8080)).toBe(`open:full/${up[1]}`);
    const waiting = names.filter((n) => !up.includes(n));
    await small.kubectl('delete', 'pod', '-n', 'full', ...up.slice(0, waiting.length));
    await small.ready();
    expect((await running()).filter((n) => waiting.includes(n))).toHaveLength(waiting.length);
  });
});
