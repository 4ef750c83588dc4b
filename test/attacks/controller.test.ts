import { beforeAll, describe, expect, test } from 'vitest';
import { startAgent } from '../../lab/world/lab.ts';
import { CONTROLLER_PORT, fabricAddress, netPath } from '../../lab/world/plan.ts';
import { exec, ExecError } from '../../lib/exec/exec.ts';
import { pod, shop, useLab } from '../system/lab.ts';

// The controller and the agents as targets: with the stolen token of a node, without any, and with connections that never end. n1 is
// the node of the attacker; "secret" has pods on n2 and n3 only, and nothing of it has any business on n1.

const lab = useLab('ctlr', { nodes: 3 });
const FAMILIES = [4, 6] as const;
const CONTROLLER = fabricAddress(4, 3);
const URL = `https://${CONTROLLER}:${CONTROLLER_PORT}`;

type Answer = { readonly status: number; readonly text: string };

/** One request from the network namespace at `netns`. */
async function ask(
  netns: string,
  path: string,
  { body, token, source }: { body?: string; token?: string; source?: string } = {},
): Promise<Answer> {
  const { stdout } = await exec(
    [
      'nsenter',
      `--net=${netns}`,
      'curl',
      ...['-sk', '--max-time', '10', '-w', '\n%{http_code}'],
      ...(source === undefined ? [] : ['--interface', source]),
      ...(token === undefined ? [] : ['-H', `authorization: Bearer ${token}`]),
      ...(body === undefined ? [] : ['-H', 'content-type: application/json', '--data-binary', '@-']),
      `${URL}${path}`,
    ],
    { timeoutMs: 20_000, ...(body === undefined ? {} : { input: body }) },
  ).catch((error: unknown) => {
    if (error instanceof ExecError) return error.result; // cut off while it was still sending
    throw error;
  });
  const at = stdout.lastIndexOf('\n');
  return { status: Number(stdout.slice(at + 1)), text: stdout.slice(0, at) };
}

/** What the stream of a token says in two seconds. */
async function stream(netns: string, token: string): Promise<string> {
  const { stdout } = await exec([
    'nsenter',
    `--net=${netns}`,
    ...['sh', '-c', `curl -skN --max-time 2 -H 'authorization: Bearer ${token}' ${URL}/v1/config || true`],
  ]);
  return stdout;
}

/** Runs JavaScript in a namespace; its standard output. */
const run = async (netns: string, program: string, ms = 60_000): Promise<string> => {
  const { stdout } = await exec(['nsenter', `--net=${netns}`, process.execPath, '-e', program], { timeoutMs: ms });
  return stdout;
};

const token = (node: string): string => lab.spec.tokens[`agent:${node}`] ?? '';
const report = (fields: object, node = 'n1'): string =>
  JSON.stringify({ node, revision: 1, blocks: [], endpoints: [], faults: [], ...fields });
const from = (): Promise<string> => lab.netns('flat/p1');
/** The allowed twin of everything here: the agents still hear, and report. */
async function newPodWorks(node: string, name: string): Promise<void> {
  await lab.apply(pod('flat', name, { node }));
  expect(await lab.connect('flat/p2', await lab.ip(`flat/${name}`), 8080)).toBe(`open:flat/${name}`);
}

beforeAll(async () => {
  const secret = {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'secret', labels: { 'bulkhead.dev/isolated': 'true' } },
  };
  await lab.apply(
    [
      shop('a'),
      shop('flat', { isolated: false }),
      JSON.stringify(secret),
      pod('secret', 'vault', { node: 'n2' }),
      pod('secret', 'client', { node: 'n3' }),
    ].join('\n---\n'),
  );
});

describe('with the stolen token of n1', () => {
  const open = (f: 4 | 6): Promise<string> =>
    lab.ip('secret/vault', f).then((ip) => lab.connect('secret/client', ip, 8080));

  test('nobody reports for another node', async () => {
    const answer = await ask(await from(), '/v1/report', { token: token('n1'), body: report({}, 'n2') });
    expect(answer.status).toBe(403);
  });

  test('no traffic of a network that has nothing on n1 is drawn there, and nothing of it is told', async () => {
    const vault = await lab.pod('secret/vault');
    const p1 = await lab.pod('a/p1');
    const node = (await lab.view()).state.nodes.get('n1');
    const lies = report({
      blocks: [
        ...vault.ips.map((ip) => ({
          cidr: `${ip}/${ip.includes(':') ? 128 : 32}`,
          network: 'secret/default',
          used: 1,
          free: 0,
        })),
        { cidr: `${node?.podCIDRs[0]?.replace(/0\/24$/, '200/30')}`, network: 'secret/default', used: 1, free: 0 },
        { cidr: '0.0.0.0/0', network: 'secret/default', used: 1, free: 0 },
      ],
      endpoints: [
        { namespace: 'secret', pod: 'vault', uid: vault.uid, network: 'default-network', ips: vault.ips },
        { namespace: 'a', pod: 'p1', uid: p1.uid, network: 'secret/default', ips: p1.ips },
      ],
      faults: [{ network: 'secret/default', message: 'broken' }],
      returned: ['10.0.0.0/8'],
    });
    const netns = await from();
    for (let i = 0; i < 10; i++) {
      expect((await ask(netns, '/v1/report', { token: token('n1'), body: lies })).status).toBe(200);
      for (const f of FAMILIES) expect(await open(f)).toBe('open:secret/vault');
    }
    const told = await stream(netns, token('n1'));
    expect(told).toContain('"type":"sync"');
    expect(told).toContain('a/default');
    expect(told.match(/secret|vault/g)).toBeNull();
    const network = JSON.parse(await lab.kubectl('-n', 'secret', 'get', 'virtualnetwork', 'default', '-o', 'json')) as {
      status: { nodes: string[]; conditions: { status: string }[] };
    };
    expect(network.status.nodes.sort()).toEqual(['n2', 'n3']);
    expect(network.status.conditions.map((c) => c.status)).toEqual(['True']);
  });

  test('an ADD of another node at that moment goes to the network that the API says', async () => {
    const netns = await from();
    await lab.apply(pod('secret', 'late', { node: 'n2' }), { wait: false });
    const late = await lab.eventually(
      () => lab.pod('secret/late').catch(() => undefined),
      (p) => p !== undefined,
    );
    for (let i = 0; i < 5; i++)
      await ask(netns, '/v1/report', {
        token: token('n1'),
        body: report({
          endpoints: [{ namespace: 'secret', pod: 'late', uid: late?.uid, network: 'default-network', ips: [] }],
        }),
      });
    await lab.ready();
    for (const f of FAMILIES) {
      expect(await lab.connect('flat/p2', await lab.ip('secret/late', f), 8080)).toBe('rejected');
      expect(await lab.connect('secret/client', await lab.ip('secret/late', f), 8080)).toBe('open:secret/late');
    }
    await newPodWorks('n1', 'twin-report');
  });

  test('whatever is sent in its name is answered, and the controller lives', async () => {
    const netns = await from();
    for (const body of [
      '',
      'null',
      '[]',
      '{}',
      '{"node":"n1"}',
      '\u0000',
      `{"node":"n1","blocks":"${'x'.repeat(100_000)}"}`,
    ])
      expect((await ask(netns, '/v1/report', { token: token('n1'), body })).status).toBe(400);
    expect((await ask(netns, '/healthz')).text).toBe('ok');
  });
});

describe('without a token', () => {
  const review = (request: object): string =>
    JSON.stringify({
      request: {
        uid: 'u',
        operation: 'CREATE',
        namespace: 'flat',
        resource: { group: '', resource: 'pods' },
        ...request,
      },
    });
  const podOn = (network: string): string =>
    review({ object: { metadata: { name: 'x', annotations: { 'bulkhead.dev/network': network } }, spec: {} } });
  const virtualNetworks = { group: 'bulkhead.dev', resource: 'virtualnetworks' };

  test('streams, reports and figures are for those who show a token', async () => {
    for (const who of ['flat/p1', 'flat/p2']) {
      const netns = await lab.netns(who);
      for (const wrong of [undefined, '', 'junk', token('n1').slice(0, -1), lab.spec.tokens['node:n1']]) {
        const fields = wrong === undefined ? {} : { token: wrong };
        expect([wrong, (await ask(netns, '/v1/config', fields)).status]).toEqual([wrong, 401]);
        expect([wrong, (await ask(netns, '/v1/report', { ...fields, body: report({}) })).status]).toEqual([wrong, 401]);
        expect([401, 403]).toContain((await ask(netns, '/metrics', fields)).status);
      }
      // An agent's token is for streams and reports, and reads no figures.
      expect([401, 403]).toContain((await ask(netns, '/metrics', { token: token('n1') })).status);
      expect((await ask(netns, '/v1/report', { token: token('n1'), body: report({}) })).status).toBe(200);
      expect((await ask(netns, '/metrics', { token: lab.spec.tokens['admin'] ?? '' })).status).toBe(200);
    }
  });

  test('a pod that asks /admit learns nothing: what is there and what is not read alike', async () => {
    const netns = await from();
    for (const [there, absent] of [
      [podOn('secret/default'), podOn('secret/nothing')],
      [
        review({ operation: 'DELETE', resource: virtualNetworks, namespace: 'secret', name: 'default' }),
        review({ operation: 'DELETE', resource: virtualNetworks, namespace: 'secret', name: 'nothing' }),
      ],
      ...['10.244.0.0/16', '192.0.2.0/24', '10.96.0.0/24'].map((subnet) =>
        [subnet, '10.99.0.0/24'].map((s) =>
          review({ resource: virtualNetworks, object: { metadata: { name: 'x' }, spec: { subnets: [s] } } }),
        ),
      ),
      ['web', 'nothing'].map((name) =>
        review({
          resource: virtualNetworks,
          object: { metadata: { name: 'x' }, spec: { services: { allow: [{ namespace: 'a', name }] } } },
        }),
      ),
    ]) {
      const answer = await ask(netns, '/admit', { body: there ?? '' });
      expect(answer.status).toBe(200);
      expect(answer).toEqual(await ask(netns, '/admit', { body: absent ?? '' }));
    }
  });

  test('the API server is answered by the state of the cluster, and names nobody', async () => {
    const fabric = netPath(lab.name, 'fabric');
    const source = fabricAddress(4, 2);
    const refused = await ask(fabric, '/admit', { body: podOn('secret/default'), source });
    expect(refused.text).toContain('"allowed":false');
    expect(refused.text).toContain('not shared with namespace flat');
    const removal = review({ operation: 'DELETE', resource: virtualNetworks, namespace: 'secret', name: 'default' });
    expect((await ask(fabric, '/admit', { body: removal, source })).text).toContain('secret/vault'); // who may delete it sees its pods
    const overlap = review({
      resource: virtualNetworks,
      object: { metadata: { name: 'x' }, spec: { subnets: ['10.244.0.0/20'] } },
    });
    const text = (await ask(fabric, '/admit', { body: overlap, source })).text;
    expect(text).toContain('"allowed":false');
    expect(text).not.toMatch(/\bn[123]\b/);
  });

  test('odd and huge bodies are refused, and others are answered meanwhile', async () => {
    const netns = await from();
    for (const body of ['', 'null', '[]', '{}', '{"request":null}', '{"request":7}'])
      expect((await ask(netns, '/admit', { body })).status).toBe(400);
    const names = Array.from({ length: 200_000 }, () => 'a').join(',');
    const big = review({
      object: { metadata: { name: 'x', annotations: { 'k8s.v1.cni.cncf.io/networks': names } }, spec: {} },
    });
    const [, health] = await Promise.all([ask(netns, '/admit', { body: big }), ask(netns, '/healthz')]);
    expect(health.text).toBe('ok');
    expect((await ask(netns, '/admit', { body: 'x'.repeat(4 << 20) })).status).not.toBe(200);
    expect((await ask(netns, '/healthz')).text).toBe('ok');
  });

  test('a flood of junk tokens is cut off, and the agent behind the same address goes on', async () => {
    const counts = JSON.parse(
      await run(
        await from(),
        `const https = require('node:https'); const agent = new https.Agent({ keepAlive: true, maxSockets: 4 }); const counts = {}; let left = 650;
         for (let i = 0; i < 650; i++) https.get('${URL}/v1/config', { agent, rejectUnauthorized: false, headers: { authorization: 'Bearer junk' + i } }, (r) => {
           counts[r.statusCode] = (counts[r.statusCode] ?? 0) + 1; r.resume(); r.on('end', () => --left || (console.log(JSON.stringify(counts)), process.exit(0)));
         }).on('error', () => { counts.error = (counts.error ?? 0) + 1; --left || (console.log(JSON.stringify(counts)), process.exit(0)); });`,
      ),
    ) as Record<string, number>;
    const { 401: refused = 0, 429: cutOff = 0, error = 0, ...rest } = counts;
    expect([refused + cutOff + error, rest]).toEqual([650, {}]);
    expect(cutOff + error).toBeGreaterThan(refused); // how many get an answer first depends on how fast they come
    expect(cutOff).toBeGreaterThan(0);
    await newPodWorks('n1', 'twin-tokens');
  });
});

describe('with connections that never end', () => {
  test('half-sent requests, handshakes and headers are closed, and an agent behind the same address begins anew meanwhile', async () => {
    const netns = await from();
    const crowd = run(
      netns,
      `const net = require('node:net'), tls = require('node:tls'); let open = 0; const sockets = [];
       const add = (s) => { s.on('error', () => {}); s.on('close', () => open--); open++; sockets.push(s); };
       for (let i = 0; i < 700; i++) add(net.connect(${CONTROLLER_PORT}, '${CONTROLLER}'));
       for (let i = 0; i < 300; i++) { const s = tls.connect({ port: ${CONTROLLER_PORT}, host: '${CONTROLLER}', rejectUnauthorized: false }); add(s);
         s.write('POST /admit HTTP/1.1\\r\\nhost: x\\r\\ncontent-type: application/json\\r\\ncontent-length: 900\\r\\n\\r\\n{"a":');
         setInterval(() => s.destroyed || s.write(' '), 1000).unref(); }
       setInterval(() => { for (const s of sockets) if (s.destroyed) s.removeAllListeners('data'); else s.resume(); if (open === 0) { console.log('all closed'); process.exit(0); } }, 200);
       setTimeout(() => { console.log(open + ' still open'); process.exit(0); }, 60_000);`,
      90_000,
    );
    // The path of the namespace leads through the agent's process: the crowd must be inside before that ends.
    expect((await ask(netns, '/healthz')).text).toBe('ok');
    await lab.kill('agent-n1');
    startAgent(lab.spec, 'n1');
    await newPodWorks('n1', 'twin-crowd');
    expect((await ask(await lab.netns('flat/p2'), '/healthz')).text).toBe('ok');
    expect((await crowd).trim()).toBe('all closed');
  });

  test("the agent's own port: half-sent requests are closed, and what is whole is answered", async () => {
    const netns = await lab.netns('flat/p2');
    const n1 = fabricAddress(4, 11);
    const left = await run(
      netns,
      `const tls = require('node:tls'); let open = 0; const all = [];
       for (let i = 0; i < 60; i++) { const s = tls.connect({ port: 9444, host: '${n1}', rejectUnauthorized: false }); open++; s.on('error', () => {}); s.on('close', () => open--); s.resume(); s.write('GET /metrics HTTP/1.1\\r\\nx: '); all.push(s); }
       setInterval(() => { if (open === 0) { console.log('all closed'); process.exit(0); } }, 200); setTimeout(() => { console.log(open + ' still open'); process.exit(0); }, 60_000);`,
      90_000,
    );
    expect(left.trim()).toBe('all closed');
    const { stdout } = await exec([
      'nsenter',
      `--net=${netns}`,
      'curl',
      '-sk',
      '--max-time',
      '5',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      `https://${n1}:9444/metrics`,
    ]);
    expect(stdout).toBe('403');
  });
});

test('a line on the socket of the runtime ends no agent', async () => {
  for (const line of ['null', '{"verb":"PODS"}', '{"verb":"DANCE"}', '7', '[]', '{', '\u0000'])
    expect(
      await lab.onNode(
        'n1',
        process.execPath,
        '-e',
        `const s = require('node:net').connect('/run/bulkhead/cni.sock', () => s.write(${JSON.stringify(line)} + '\\n')); s.on('data', (d) => process.stdout.write(d)); s.on('error', (e) => console.log(e.code));`,
      ),
    ).toContain('"error"');
  await newPodWorks('n1', 'twin-socket');
});
