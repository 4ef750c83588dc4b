import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  apply,
  deleteNamespaces,
  eventually,
  families,
  family,
  flatNamespace,
  fromHost,
  fromPod,
  get,
  isolatedNamespace,
  kubectl,
  nodeIp,
  pod,
  ready,
  standIn,
  workers,
} from './cluster.ts';

// The matrix of docs/reference/services.md: who reaches a node port of a Service in an isolated network. Line 21.

type Policy = 'Cluster' | 'Local';
const CLIENTS = ['outside', 'host', 'flat network', 'same network', 'other network'] as const;
type Client = (typeof CLIENTS)[number];

/** By client: with a backend on the dialled node, and without. The flat network's client runs on the node without. */
const WANTED: Readonly<Record<Policy, Readonly<Record<Client, readonly [string, string]>>>> = {
  Cluster: {
    outside: ['open', 'open'],
    host: ['open', 'open'],
    'flat network': ['open', 'open'],
    'same network': ['open', 'open'],
    'other network': ['rejected', 'rejected'],
  },
  Local: {
    outside: ['open', 'closed'],
    host: ['open', 'open'],
    'flat network': ['open', 'open'],
    'same network': ['open', 'open'],
    'other network': ['rejected', 'rejected'],
  },
};
const NAMESPACES = ['np-a', 'np-b', 'np-flat'];

let withBackend = '';
let without = '';

const service = (policy: Policy): string => `
apiVersion: v1
kind: Service
metadata: { name: np-${policy.toLowerCase()}, namespace: np-a }
spec:
  type: NodePort
  externalTrafficPolicy: ${policy}
  ${family === 'dual' ? 'ipFamilyPolicy: RequireDualStack' : ''}
  selector: { app: server }
  ports: [{ name: tcp, port: 5432 }, { name: udp, port: 5353, protocol: UDP }]
---`;

beforeAll(async () => {
  [withBackend, without] = await workers();
  await apply(
    [
      isolatedNamespace('np-a'),
      isolatedNamespace('np-b'),
      flatNamespace('np-flat'),
      standIn('np-a', 'server', { node: withBackend }),
      standIn('np-a', 'client', { node: without }),
      standIn('np-b', 'client', { node: without }),
      standIn('np-flat', 'client', { node: without }),
      service('Cluster'),
      service('Local'),
    ].join('\n'),
  );
  await ready(...NAMESPACES);
  await programmed();
}, 240_000);
afterAll(() => deleteNamespaces(...NAMESPACES));

async function portOf(policy: Policy, name: 'tcp' | 'udp'): Promise<number> {
  const { ports } = (await get('service', `np-${policy.toLowerCase()}`, 'np-a'))['spec'] as {
    ports: { name: string; nodePort: number }[];
  };
  return ports.find((p) => p.name === name)?.nodePort ?? 0;
}

/** kube-proxy hears of endpoints later than the pods are ready, and rejects until then: a node itself reaches every port once it has. */
async function programmed(): Promise<void> {
  for (const policy of ['Cluster', 'Local'] as const)
    for (const name of ['tcp', 'udp'] as const)
      for (const of of families)
        for (const node of [withBackend, without]) {
          const port = await portOf(policy, name);
          const to = { address: await nodeIp(node, of), port, protocol: name === 'tcp' ? 'TCP' : 'UDP' } as const;
          await eventually(`${node} has programmed the ${policy} ${name} node port, IPv${of}`, async () =>
            (await fromHost(node, to)) === 'open' ? true : undefined,
          );
        }
}

async function ask(
  client: Client,
  dialled: string,
  to: { address: string; port: number; protocol: 'TCP' | 'UDP' },
): Promise<string> {
  switch (client) {
    case 'outside':
      return await fromHost(undefined, to);
    case 'host':
      return await fromHost(dialled, to);
    case 'flat network':
      return await fromPod(await pod('np-flat', 'app=client'), to);
    case 'same network':
      return await fromPod(await pod('np-a', 'app=client'), to);
    case 'other network':
      return await fromPod(await pod('np-b', 'app=client'), to);
  }
}

async function matrix(policy: Policy): Promise<Record<string, readonly string[]>> {
  const rows: Record<string, readonly string[]> = {};
  for (const of of families) {
    for (const protocol of ['TCP', 'UDP'] as const) {
      const port = await portOf(policy, protocol === 'TCP' ? 'tcp' : 'udp');
      for (const client of CLIENTS) {
        const got: string[] = [];
        for (const node of [withBackend, without])
          got.push(await ask(client, node, { address: await nodeIp(node, of), port, protocol }));
        rows[`${client} IPv${of} ${protocol}`] = got;
      }
    }
  }
  return rows;
}

const wanted = (
  policy: Policy,
  change: Partial<Record<Client, readonly [string, string]>> = {},
): Record<string, readonly string[]> =>
  Object.fromEntries(
    families.flatMap((of) =>
      (['TCP', 'UDP'] as const).flatMap((protocol) =>
        CLIENTS.map((c) => [`${c} IPv${of} ${protocol}`, change[c] ?? WANTED[policy][c]]),
      ),
    ),
  );

describe('node ports of an isolated network', () => {
  test.each(['Cluster', 'Local'] as const)(
    'externalTrafficPolicy %s: every client, node, family and protocol',
    async (policy) => {
      expect(await matrix(policy)).toEqual(wanted(policy));
    },
  );

  test('nodePortAccess External closes them to pods of other networks, and to nobody else', async () => {
    await kubectl([
      '-n',
      'np-a',
      'patch',
      'virtualnetwork',
      'default',
      '--type=merge',
      '-p',
      '{"spec":{"services":{"nodePortAccess":"External"}}}',
    ]);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(await matrix('Cluster')).toEqual(wanted('Cluster', { 'flat network': ['rejected', 'rejected'] }));
  });
});
