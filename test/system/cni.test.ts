import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { exec, ExecError } from '../../lib/exec/exec.ts';
import { inside } from '../../lab/world/namespaces.ts';
import { checkout, pod, shop, useLab } from './lab.ts';

// The executable and the agent behind it, called as a runtime calls them, and by the reference tool.

const PLUGIN = join(checkout, 'dist/cni/bulkhead');
const lab = useLab('cni', { nodes: 1 });
const dir = mkdtempSync(join(tmpdir(), 'bhtest-cni-'));
afterAll(() => rmSync(dir, { recursive: true }));

type Answer = { code: number; json: Record<string, unknown> | undefined };

async function plugin(
  env: Record<string, string>,
  {
    cniVersion = '1.1.0',
    socket = '/run/bulkhead/cni.sock',
    extra = {},
  }: { cniVersion?: string; socket?: string; extra?: object } = {},
): Promise<Answer> {
  const [command, ...args] = inside(lab.name, { node: 'n1' }, [
    'env',
    ...Object.entries(env).map(([k, v]) => `${k}=${v}`),
    PLUGIN,
  ]);
  try {
    const { stdout } = await exec([command, ...args], {
      input: JSON.stringify({ cniVersion, name: 'bulkhead', type: 'bulkhead', socket, ...extra }),
    });
    return { code: 0, json: stdout === '' ? undefined : (JSON.parse(stdout) as Record<string, unknown>) };
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    return { code: error.result.exitCode, json: JSON.parse(error.result.stdout) as Record<string, unknown> };
  }
}

let n = 0;
/** A namespace in the node, and what a runtime would say of it; the pod object exists so that the agent can resolve it. */
async function sandbox(namespace: string): Promise<{ env: Record<string, string>; name: string }> {
  const name = `manual-${n++}`;
  // On no node: the lab's own kubelet leaves it alone.
  await lab.apply(pod(namespace, name, { node: 'nowhere' }), { wait: false });
  await lab.onNode('n1', 'ip', 'netns', 'add', name);
  const uid = await lab.kubectl('get', 'pod', '-n', namespace, name, '-o', 'jsonpath={.metadata.uid}');
  return {
    name,
    env: {
      CNI_CONTAINERID: `c-${name}`,
      CNI_NETNS: `/run/netns/${name}`,
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/',
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name};K8S_POD_UID=${uid}`,
    },
  };
}
const blocksUsed = async (): Promise<number> =>
  (await lab.onNode('n1', 'sh', '-c', 'grep -c \'"op":"attach"\' /run/bulkhead/journal.ndjson || true').then(Number)) -
  (await lab.onNode('n1', 'sh', '-c', 'grep -c \'"op":"detach"\' /run/bulkhead/journal.ndjson || true').then(Number));

describe('the CNI executable', () => {
  test('set-up', async () => {
    await lab.apply(shop('a').replaceAll('"n2"', '"n1"'));
  });

  test('ADD, CHECK, DEL on an isolated network, in every version of the result', async () => {
    for (const cniVersion of ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
      const { env, name } = await sandbox('a');
      const added = await plugin({ ...env, CNI_COMMAND: 'ADD' }, { cniVersion });
      expect([cniVersion, added.code, added.json?.['cniVersion']]).toEqual([cniVersion, 0, cniVersion]);
      const [ip] = added.json?.['ips'] as { address: string }[];
      expect(await lab.connect('a/p1', ip?.address.split('/')[0] ?? '', 9, 'TCP')).toBe('rejected'); // reachable, nobody listens
      expect(await lab.onNode('n1', 'ip', 'netns', 'exec', name, 'ping', '-c1', '-W1', await lab.ip('a/p1'))).toContain(
        '1 received',
      );
      expect(
        (await plugin({ ...env, CNI_COMMAND: 'CHECK' }, { cniVersion, extra: { prevResult: added.json } })).code,
      ).toBe(0);
      expect((await plugin({ ...env, CNI_COMMAND: 'DEL' }, { cniVersion })).code).toBe(0);
    }
  });

  test('ADD twice gives the same, DEL twice and DEL of what never was are fine, CHECK tells what is missing', async () => {
    const { env, name } = await sandbox('a');
    for (let i = 0; i < 20; i++)
      expect((await plugin({ ...env, CNI_COMMAND: 'DEL', CNI_CONTAINERID: `never-${i}` })).code).toBe(0);
    expect((await plugin({ ...env, CNI_COMMAND: 'CHECK' })).json).toMatchObject({ code: 3 });
    const first = await plugin({ ...env, CNI_COMMAND: 'ADD' });
    expect((await plugin({ ...env, CNI_COMMAND: 'ADD' })).json).toEqual(first.json);
    await lab.onNode('n1', 'ip', '-n', name, 'route', 'del', 'default');
    expect((await plugin({ ...env, CNI_COMMAND: 'CHECK' })).json).toMatchObject({
      code: 102,
      msg: expect.stringContaining('default route 0.0.0.0/0 by eth0 is missing') as string,
    });
    // DEL works with an empty namespace, a wrong path and a namespace that is gone.
    await lab.onNode('n1', 'ip', 'netns', 'del', name);
    for (const CNI_NETNS of ['', '/run/netns/wrong', env['CNI_NETNS'] ?? ''])
      expect((await plugin({ ...env, CNI_COMMAND: 'DEL', CNI_NETNS })).code).toBe(0);
    const again = await sandbox('a');
    const other = await plugin({ ...again.env, CNI_COMMAND: 'ADD' });
    // The released address rests.
    expect(other.json?.['ips']).not.toEqual(first.json?.['ips']);
    expect((await plugin({ ...again.env, CNI_COMMAND: 'DEL' })).code).toBe(0);
  });

  test('a pod that nobody knows is code 11, a missing namespace code 3, and neither leaves anything', async () => {
    const before = await blocksUsed();
    const { env } = await sandbox('a');
    expect((await plugin({ ...env, CNI_COMMAND: 'ADD', CNI_NETNS: '/run/netns/nope' })).json).toMatchObject({
      code: 3,
    });
    expect(
      (await plugin({ ...env, CNI_COMMAND: 'ADD', CNI_ARGS: 'K8S_POD_NAMESPACE=a;K8S_POD_NAME=nobody' })).json,
    ).toMatchObject({ code: 11, msg: expect.stringContaining('a/nobody') as string });
    expect((await plugin({ ...env, CNI_COMMAND: 'ADD', CNI_ARGS: '' })).json).toMatchObject({ code: 4 });
    expect(await blocksUsed()).toBe(before);
  });

  test('agent away: ADD is code 11, STATUS 50; VERSION needs nobody', async () => {
    const { env } = await sandbox('a');
    expect((await plugin({ ...env, CNI_COMMAND: 'ADD' }, { socket: '/run/nope.sock' })).json).toMatchObject({
      code: 11,
      msg: expect.stringContaining('/run/nope.sock') as string,
    });
    expect((await plugin({ CNI_COMMAND: 'STATUS' }, { socket: '/run/nope.sock' })).json).toMatchObject({ code: 50 });
    expect((await plugin({ CNI_COMMAND: 'STATUS' })).code).toBe(0);
    expect((await plugin({ CNI_COMMAND: 'VERSION' }, { socket: '/run/nope.sock' })).json).toMatchObject({
      supportedVersions: expect.arrayContaining(['0.3.1', '1.1.0']) as string[],
    });
  });

  test('GC with a list that names nobody frees no healthy pod, and does free what is dead', async () => {
    const { env, name } = await sandbox('a');
    expect((await plugin({ ...env, CNI_COMMAND: 'ADD' })).code).toBe(0);
    const before = await blocksUsed();
    expect((await plugin({ CNI_COMMAND: 'GC' }, { extra: { 'cni.dev/valid-attachments': [] } })).code).toBe(0);
    expect(await blocksUsed()).toBe(before);
    expect(await lab.connect('a/p1', await lab.ip('a/q1'), 8080)).toBe('open:a/q1');
    await lab.onNode('n1', 'ip', 'netns', 'del', name);
    expect((await plugin({ CNI_COMMAND: 'GC' }, { extra: { 'cni.dev/valid-attachments': [] } })).code).toBe(0);
    expect(await blocksUsed()).toBe(before - 1);
  });

  test('forty at once, ADD and DEL interleaved: no address twice, none left', async () => {
    const before = await blocksUsed();
    const boxes = await Promise.all(Array.from({ length: 20 }, () => sandbox('a')));
    const results = await Promise.all(boxes.map(({ env }) => plugin({ ...env, CNI_COMMAND: 'ADD' })));
    const ips = results.flatMap((r) => (r.json?.['ips'] as { address: string }[]).map((i) => i.address));
    expect(ips.filter((ip, i) => ips.indexOf(ip) !== i)).toEqual([]);
    expect(ips).toHaveLength(40);
    // ADD and DEL of the same container, sent together, end in one of the two, and DEL after them in nothing.
    await Promise.all(
      boxes.flatMap(({ env }) => [plugin({ ...env, CNI_COMMAND: 'DEL' }), plugin({ ...env, CNI_COMMAND: 'ADD' })]),
    );
    await Promise.all(boxes.map(({ env }) => plugin({ ...env, CNI_COMMAND: 'DEL' })));
    expect(await blocksUsed()).toBe(before);
    const links = await lab.eventually(
      () => lab.onNode('n1', 'ip', '-n', 'bh-2', '-o', 'link'),
      (t) => (t.match(/bhp/g)?.length ?? 0) <= 3,
    );
    expect(links.match(/ bhp[0-9a-f]{12}@/g)).toHaveLength(3);
  });

  test('cnitool adds, checks and deletes with it', async () => {
    const cnitool = await findCnitool();
    const conf = join(dir, 'net.d');
    mkdirSync(conf);
    writeFileSync(
      join(conf, '10-bulkhead.conflist'),
      JSON.stringify({
        cniVersion: '1.1.0',
        name: 'bulkhead',
        plugins: [{ type: 'bulkhead', socket: '/run/bulkhead/cni.sock' }],
      }),
    );
    const { env, name } = await sandbox('a');
    const tool = (verb: string): Promise<string> =>
      lab.onNode(
        'n1',
        'env',
        `CNI_PATH=${join(checkout, 'dist/cni')}`,
        `NETCONFPATH=${conf}`,
        `CNI_ARGS=${env['CNI_ARGS']}`,
        cnitool,
        verb,
        'bulkhead',
        `/run/netns/${name}`,
      );
    expect(JSON.parse(await tool('add'))).toMatchObject({
      cniVersion: '1.1.0',
      interfaces: [{}, { name: 'eth0' }],
      ips: [{ gateway: '169.254.1.1' }, { gateway: 'fe80::1' }],
    });
    await tool('check');
    await tool('del');
  });
});

/** From PATH, or built from Go modules into the checkout's cache: the reference tool is a Go program. */
async function findCnitool(): Promise<string> {
  const cache = join(checkout, '.cache/go/bin/cnitool');
  const onPath = await exec(['sh', '-c', 'command -v cnitool']).then(
    (r) => r.stdout.trim(),
    () => '',
  );
  if (onPath !== '') return onPath;
  if (!existsSync(cache))
    await exec(
      ['sh', '-c', 'PATH=$PATH:/usr/local/go/bin go install github.com/containernetworking/cni/cnitool@v1.3.0'],
      { timeoutMs: 150_000, env: { ...process.env, GOBIN: join(checkout, '.cache/go/bin') } },
    );
  return cache;
}
