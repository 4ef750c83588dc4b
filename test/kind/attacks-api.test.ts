import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CONTROLLER_LEASE, LEADER_URL } from '../../api/names.ts';
import { exec, ExecError } from '../../lib/exec/exec.ts';
import {
  deleteNamespaces,
  families,
  get,
  kubectl,
  netnsOf,
  nodeIp,
  placeOnWorkers,
  type OnWorkers,
  type PodFacts,
  refused,
  workers,
} from './cluster.ts';

// Attacks on a real cluster that need no packets: what a tenant writes, at the real API server, and what the controller and the agents
// answer to whom.

const NAMESPACES = ['atk-a', 'atk-nat', 'atk-flat'];
let nodes: [string, string] = ['', ''];
let pods: OnWorkers = new Map();
const podOf = (namespace: string, node: 0 | 1): PodFacts => {
  const found = pods.get(namespace)?.[node];
  if (!found) throw new Error(`no pod of ${namespace}`);
  return found;
};

beforeAll(async () => {
  nodes = await workers();
  pods = await placeOnWorkers({ isolated: ['atk-a'], outward: ['atk-nat'], flat: ['atk-flat'] });
});
afterAll(() => deleteNamespaces(...NAMESPACES));

/** What the API server says of a user's right: "yes" or "no". `what`: a resource, with its subresource behind a slash. */
async function mayI(user: string, verb: string, what: string, ...where: string[]): Promise<string> {
  const [resource = '', subresource] = what.split('/');
  const sub = subresource === undefined ? [] : [`--subresource=${subresource}`];
  const asked = kubectl(['auth', 'can-i', verb, resource, ...sub, '--as', user, ...where]);
  return (await asked.catch((error: unknown) => (error instanceof ExecError ? error.result.stdout : ''))).trim();
}

describe('what is written', () => {
  const dryRun = (yaml: string): Promise<string> => kubectl(['apply', '--dry-run=server', '-f', '-'], yaml);
  const network = (spec: string): string => `
apiVersion: bulkhead.dev/v1alpha1
kind: VirtualNetwork
metadata: { name: asks, namespace: atk-a }
spec: ${spec}
`;
  const service = (extra: string): string => `
apiVersion: v1
kind: Service
metadata: { name: asks, namespace: atk-a }
spec: { ports: [{ port: 80 }]${extra} }
`;

  test('subnets, egress addresses and external addresses beyond the administrator’s pools', async () => {
    const own = families.map((f) => ({ 4: '10.77.0.0/24', 6: 'fd00:77::/64' })[f]);
    const { podCIDR = '' } = (await get('node', nodes[0]))['spec'] as { podCIDR?: string };
    for (const [yaml, why] of [
      [network('{ subnets: ["203.0.113.0/24"] }'), /spec\.subnets\[0\].*none of the pools/],
      [network('{ subnets: ["2001:db8:77::/64"] }'), /spec\.subnets\[0\].*none of the pools/],
      [network('{ subnets: ["10.0.0.0/8"] }'), /larger than the \/16/],
      [network(`{ subnets: ["${podCIDR}"] }`), /overlaps/],
      [network('{ egress: { mode: NAT, addresses: ["198.51.100.7"] } }'), /spec\.egress\.addresses\[0\].*none/],
      [service(', externalIPs: ["203.0.113.10"]'), /spec\.externalIPs/],
    ] as const)
      expect(await refused(['apply', '--dry-run=server', '-f', '-'], yaml)).toMatch(why);
    expect(await dryRun(network(`{ subnets: ${JSON.stringify(own)}, egress: { mode: NAT } }`))).toContain('asks');
    expect(await dryRun(service(''))).toContain('asks');
  });

  test('a pod that names the network of another tenant, and the blocks of nodes', async () => {
    const guest = (network: string): string => `
apiVersion: v1
kind: Pod
metadata: { name: guest, namespace: atk-flat, annotations: { bulkhead.dev/network: ${network} } }
spec: { containers: [{ name: c, image: x }] }
`;
    expect(await refused(['apply', '--dry-run=server', '-f', '-'], guest('atk-a/default'))).toContain('not shared');
    const block = `
apiVersion: bulkhead.dev/v1alpha1
kind: AddressBlock
metadata: { name: mine }
spec: { cidr: 10.77.0.0/28, node: ${nodes[0]}, network: { namespace: atk-a, name: default }, source: Subnet }
`;
    const tenant = ['--as', 'tenant', '--as-group', 'tenants'];
    expect(await refused(['apply', '-f', '-', ...tenant], block)).toMatch(/forbidden/i);
    const can = (verb: string, what: string): Promise<string> => mayI('tenant', verb, what, '-n', 'atk-a');
    await kubectl(['-n', 'atk-a', 'create', 'rolebinding', 'tenant', '--clusterrole=edit', '--user=tenant']);
    expect([await can('create', 'virtualnetworks.bulkhead.dev'), await can('create', 'pods')]).toEqual(['yes', 'yes']);
    for (const what of ['bulkheadconfigs', 'addressblocks', 'virtualnetworks/status', 'clusternetworkpolicies'])
      for (const verb of ['create', 'patch', 'delete'])
        expect([verb, what, await can(verb, what)]).toEqual([verb, what, 'no']);
  });
});

describe('controller and agents', () => {
  let controller = '';
  beforeAll(async () => {
    const { annotations = {} } = (await get('lease', CONTROLLER_LEASE, 'kube-system')).metadata;
    controller = annotations[LEADER_URL] ?? '';
  });

  type Answer = { readonly status: number; readonly text: string };
  async function ask(
    from: PodFacts,
    url: string,
    { token, body }: { token?: string; body?: string } = {},
  ): Promise<Answer> {
    const { stdout } = await exec(
      [
        'nsenter',
        ...[`--net=${await netnsOf(from)}`, 'curl', '-sk', '--max-time', '5', '-w', '\n%{http_code}'],
        ...(token === undefined ? [] : ['-H', `authorization: Bearer ${token}`]),
        ...(body === undefined ? [] : ['-H', 'content-type: application/json', '--data-binary', '@-']),
        url,
      ],
      { timeoutMs: 20_000, ...(body === undefined ? {} : { input: body }) },
    ).catch((error: unknown) => {
      if (error instanceof ExecError) return error.result; // a stream that was cut off after its time
      throw error;
    });
    const at = stdout.lastIndexOf('\n');
    return { status: Number(stdout.slice(at + 1)), text: stdout.slice(0, at) };
  }
  const REPORT = (node: string): string => JSON.stringify({ node, revision: 1, blocks: [], endpoints: [], faults: [] });
  const FIGURES = [401, 403];

  test('without a token: /admit tells a pod nothing, and figures and streams are refused', async () => {
    const review = (network: string): string =>
      JSON.stringify({
        request: {
          uid: 'u',
          operation: 'CREATE',
          namespace: 'atk-flat',
          resource: { group: '', resource: 'pods' },
          object: { metadata: { name: 'x', annotations: { 'bulkhead.dev/network': network } }, spec: {} },
        },
      });
    for (const from of [podOf('atk-flat', 0), podOf('atk-flat', 1)]) {
      const there = await ask(from, `${controller}/admit`, { body: review('atk-a/default') });
      expect(there.status).toBe(200);
      expect(there).toEqual(await ask(from, `${controller}/admit`, { body: review('atk-a/nothing') }));
      for (const wrong of [{}, { token: 'junk' }]) {
        expect((await ask(from, `${controller}/v1/config`, wrong)).status).toBe(401);
        expect((await ask(from, `${controller}/v1/report`, { ...wrong, body: REPORT(nodes[0]) })).status).toBe(401);
        expect(FIGURES).toContain((await ask(from, `${controller}/metrics`, wrong)).status);
        const ip = await nodeIp(nodes[0], families[0] ?? 4);
        const agent = `https://${ip.includes(':') ? `[${ip}]` : ip}:9444/metrics`;
        expect(FIGURES).toContain((await ask(from, agent, wrong)).status);
      }
      expect((await ask(from, `${controller}/healthz`)).text).toBe('ok');
    }
    // A pod of a network does not get there at all.
    expect((await ask(podOf('atk-nat', 0), `${controller}/healthz`)).text).not.toBe('ok');
  });

  test('the token of an agent, at the API server and at the controller', async () => {
    const account = 'system:serviceaccount:kube-system:bulkhead-agent';
    const can = (verb: string, what: string): Promise<string> => mayI(account, verb, what, '-A');
    for (const [verb, what] of [
      ['get', 'pods'],
      ['get', 'namespaces'],
      ['get', 'virtualnetworks.bulkhead.dev'],
    ] as const)
      expect([verb, what, await can(verb, what)]).toEqual([verb, what, 'yes']);
    for (const [verb, what] of [
      ['list', 'pods'],
      ['patch', 'pods'],
      ['create', 'pods'],
      ['get', 'secrets'],
      ['patch', 'nodes'],
      ['patch', 'namespaces'],
      ['list', 'virtualnetworks.bulkhead.dev'],
      ['patch', 'virtualnetworks.bulkhead.dev'],
      ['update', 'virtualnetworks.bulkhead.dev/status'],
      ['create', 'addressblocks.bulkhead.dev'],
      ['create', 'pods/exec'],
      ['create', 'serviceaccounts/token'],
      ['impersonate', 'users'],
      ['update', 'leases.coordination.k8s.io'],
    ] as const)
      expect([verb, what, await can(verb, what)]).toEqual([verb, what, 'no']);

    const agents = JSON.parse(
      await kubectl(['-n', 'kube-system', 'get', 'pods', '-l', 'app.kubernetes.io/name=bulkhead-agent', '-o', 'json']),
    ) as { items: { metadata: { name: string; uid: string }; spec: { nodeName: string } }[] };
    const agent = agents.items.find((p) => p.spec.nodeName === nodes[0]);
    const bound = ['--bound-object-kind', 'Pod', '--bound-object-name', agent?.metadata.name ?? ''];
    const create = (name: string, ...more: string[]): Promise<string> =>
      kubectl(['-n', 'kube-system', 'create', 'token', name, '--audience', 'bulkhead-controller', ...more]).then((t) =>
        t.trim(),
      );
    const stolen = await create('bulkhead-agent', ...bound);
    const unbound = await create('bulkhead-agent');
    const other = await create('default');
    const from = podOf('atk-flat', 0);
    const stream = await ask(from, `${controller}/v1/config`, { token: stolen });
    expect(stream.text).toContain('"type":"sync"');
    for (const token of [unbound, other])
      expect((await ask(from, `${controller}/v1/config`, { token })).status).toBe(401);
    expect((await ask(from, `${controller}/v1/report`, { token: stolen, body: REPORT(nodes[1]) })).status).toBe(403);
    expect(FIGURES).toContain((await ask(from, `${controller}/metrics`, { token: stolen })).status);
  });
});
