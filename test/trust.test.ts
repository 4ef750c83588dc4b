import { afterEach, describe, expect, test } from 'vitest';
import { CA_CONFIGMAP, CA_SECRET, CONTROLLER_LEASE, LEADER_URL, SYSTEM_NAMESPACE } from '../api/names.ts';
import type { StreamEvent } from '../api/nodeconfig.ts';
import { ConfigStore } from '../dataplane/follow/config-store.ts';
import { controllerServer } from '../controller/http/server.ts';
import { ServingIdentity } from '../controller/tls/identity.ts';
import { ensureAuthority } from '../controller/tls/authority.ts';
import { ClusterSource } from '../controller/sources/cluster.ts';
import { ControllerLink } from '../dataplane/follow/controller-link.ts';
import { Operations } from '../lab/apiserver/operations.ts';
import { apiServer } from '../lab/apiserver/server.ts';
import { core, KubeClient } from '../lib/kube/client.ts';

// Who trusts whom: the controller's own authority and its rotation, and which leader agents follow.

const cleanups: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const c of cleanups.splice(0).reverse()) await c();
});

async function startApi(): Promise<KubeClient> {
  const ops = new Operations({ serviceCIDRs: ['10.96.0.0/16'], families: [4] });
  for (const name of ['default', SYSTEM_NAMESPACE])
    ops.create(ops.resources.kind('Namespace', ''), undefined, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name },
    });
  const server = apiServer(ops, new Map([['t', { username: 'admin', groups: [] }]]));
  await server.listen({ host: '127.0.0.1', port: 0 });
  cleanups.push(() => server.close());
  const address = server.server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const client = new KubeClient({ server: `http://127.0.0.1:${port}`, token: () => 't' });
  cleanups.push(() => client[Symbol.asyncDispose]());
  return client;
}

const DAY = 86_400_000;
const count = (bundle: string): number => bundle.match(/BEGIN CERTIFICATE/g)?.length ?? 0;

describe('the authority', () => {
  test('two replicas that begin at once end with the same one', async () => {
    const client = await startApi();
    const [a, b] = await Promise.all([ensureAuthority(client), ensureAuthority(client)]);
    const again = await ensureAuthority(client);
    expect(a.authority.cert.serialNumber).toBe(again.authority.cert.serialNumber);
    expect(b.authority.cert.serialNumber).toBe(again.authority.cert.serialNumber);
    expect(again.bundle).toContain(again.authority.cert.toString('pem').trim());
  });

  test('rotation: the old certificate stays trusted until it is over, and every replica gets one of the new', async () => {
    const client = await startApi();
    const identity = new ServingIdentity(client, ['127.0.0.1']);
    const first = await identity.refresh();
    expect(count(first.bundle)).toBe(1);
    const same = await identity.refresh();
    expect(same.tls).toBe(first.tls);
    const later = Date.now() + 2_600 * DAY; // less than a third of ten years is left
    const rotated = await identity.refresh(later);
    expect(rotated.tls.ca).not.toBe(first.tls.ca);
    expect(count(rotated.bundle)).toBe(2);
    expect(rotated.bundle).toContain(first.tls.ca.trim());
    const over = await identity.refresh(Date.now() + 3_700 * DAY);
    expect(over.bundle).not.toContain(first.tls.ca.trim());
    const published = await client.get(core('configmaps'), CA_CONFIGMAP, SYSTEM_NAMESPACE);
    expect((published['data'] as Record<string, string>)['ca.crt']).toBe(over.bundle);
  });

  test('a Secret that somebody has spoilt is replaced', async () => {
    const client = await startApi();
    await ensureAuthority(client);
    await client.patch(core('secrets'), CA_SECRET, SYSTEM_NAMESPACE, { data: { 'tls.key': 'AAAA' } });
    const mended = await ensureAuthority(client);
    expect((await ensureAuthority(client)).authority.cert.serialNumber).toBe(mended.authority.cert.serialNumber);
  });
});

test('a controller that cannot see a kind says which, why, and what to install', async () => {
  const client = await startApi();
  await using source = new ClusterSource({
    client,
    podCIDRs: [],
    serviceCIDRs: ['10.96.0.0/16'],
    onChange: () => undefined,
    onRefused: () => undefined,
    onTrouble: () => undefined,
  });
  void source.start();
  const end = performance.now() + 10_000;
  while (!source.waitingFor().every((w) => w.includes('crds')) && performance.now() < end)
    await new Promise((r) => setTimeout(r, 20));
  expect(source.waitingFor().map((w) => w.split(' ')[0])).toEqual([
    'virtualnetworks',
    'virtualnetworkrouters',
    'addressblocks',
  ]);
  expect(source.waitingFor()[0]).toContain('install manifests/crds');
});

describe('two leaders', () => {
  /** A controller replica that says it leads in `epoch`. */
  async function replica(client: KubeClient, epoch: number): Promise<string> {
    const { tls } = await new ServingIdentity(client, ['127.0.0.1']).refresh();
    const { server } = controllerServer(
      {
        agents: () => ({
          open: (node, sink) => {
            const events: StreamEvent[] = [
              { type: 'hello', epoch, node },
              {
                type: 'upsert',
                kind: 'cluster',
                key: 'cluster',
                value: { podCIDRs: [`10.${epoch}.0.0/16`], serviceCIDRs: [] },
              },
              { type: 'sync', revision: 1 },
            ];
            sink.write(events.map((e) => `${JSON.stringify(e)}\n`).join(''));
            return () => undefined;
          },
          report: () => undefined,
        }),
        nodeOf: () => Promise.resolve('n1'),
        admit: ({ uid }) => Promise.resolve({ uid, allowed: true }),
        missing: () => undefined,
        metrics: () => Promise.resolve(''),
        mayReadMetrics: () => Promise.resolve(false),
        isApiServer: () => false,
        onFault: (error) => {
          throw error;
        },
      },
      tls,
    );
    await server.listen({ host: '127.0.0.1', port: 0 });
    cleanups.push(() => server.close());
    const address = server.server.address();
    return `https://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
  }

  test('an agent that has seen a newer leader takes nothing from an older one', async () => {
    const client = await startApi();
    const [old, young] = [await replica(client, 1), await replica(client, 2)];
    const leases = { group: 'coordination.k8s.io', version: 'v1', plural: 'leases' };
    const point = async (url: string): Promise<void> => {
      const metadata = { name: CONTROLLER_LEASE, namespace: SYSTEM_NAMESPACE, annotations: { [LEADER_URL]: url } };
      const body = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec: {} };
      await client
        .create(leases, body)
        .catch(() => client.patch(leases, CONTROLLER_LEASE, SYSTEM_NAMESPACE, { metadata }));
    };
    const store = new ConfigStore();
    const troubles: string[] = [];
    const follow = async (until: () => boolean): Promise<void> => {
      const stop = new AbortController();
      const end = performance.now() + 10_000;
      const running = link.run(stop.signal);
      while (!until() && performance.now() < end) await new Promise((r) => setTimeout(r, 20));
      stop.abort();
      await running;
    };
    const link = new ControllerLink({
      client,
      token: () => 'x',
      store,
      onSync: () => undefined,
      onTrouble: (_, error) => troubles.push((error as Error).message),
    });
    const ranges = (): string => store.config.cluster.get('cluster')?.podCIDRs[0] ?? '';
    await point(young);
    await follow(() => ranges() === '10.2.0.0/16');
    expect(ranges()).toBe('10.2.0.0/16');
    // The old one comes back from a long pause and still believes that it leads.
    await point(old);
    await follow(() => troubles.some((t) => t.includes('old leader')));
    expect(troubles.join()).toContain('epoch 1 is an old leader: epoch 2 was seen');
    expect(ranges()).toBe('10.2.0.0/16');
  });
});
