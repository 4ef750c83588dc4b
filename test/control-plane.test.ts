import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { Operations } from '../lab/apiserver/operations.ts';
import { apiServer } from '../lab/apiserver/server.ts';
import { core, KubeClient, type KubeObject } from '../lib/kube/client.ts';
import { acquireLease } from '../lib/kube/lease.ts';
import { Reflector } from '../lib/kube/reflector.ts';

// Our client against the lab's API server, with faults put between the two.

type Fault = 'none' | 'refuse' | '500' | '429' | 'cut' | 'silent';
const cleanups: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const c of cleanups.splice(0).reverse()) await c();
});

async function startApi() {
  const ops = new Operations({ serviceCIDRs: ['10.96.0.0/16'], families: [4] });
  ops.create(ops.resources.kind('Namespace', ''), undefined, {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'default' },
  });
  const api = apiServer(ops, new Map([['t', { username: 'admin', groups: [] }]]));
  await api.ready();
  let fault: Fault = 'none';
  let cutAfter = 0;
  let cuts = 0;
  const requests: string[] = [];
  const server: Server = createServer((request, response) => {
    requests.push(request.url ?? '');
    const watch = request.url?.includes('watch=true') ?? false;
    switch (fault) {
      case 'refuse':
        request.socket.destroy();
        return;
      case '500':
      case '429':
        response
          .writeHead(Number(fault), fault === '429' ? { 'retry-after': '1' } : {})
          .end('{"kind":"Status","message":"busy"}');
        return;
      case 'silent':
        if (watch) {
          response.writeHead(200);
          response.flushHeaders();
          return;
        }
        break;
      case 'cut': {
        const write = response.write.bind(response);
        let left = cutAfter;
        response.write = ((chunk: string | Buffer) => {
          const text = chunk.toString();
          left -= text.length;
          if (left >= 0) return write(chunk);
          write(text.slice(0, Math.max(0, text.length + left)));
          cuts++;
          fault = 'none'; // one cut; what comes after is whole
          setImmediate(() => response.destroy());
          return false;
        }) as typeof response.write;
        break;
      }
      case 'none':
        break;
    }
    api.routing(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = new KubeClient({ server: url, token: () => 't' });
  cleanups.push(() => client[Symbol.asyncDispose]());
  return {
    ops,
    client,
    requests,
    setFault: (f: Fault, after = 0) => {
      fault = f;
      cutAfter = after;
    },
    cuts: () => cuts,
    cutAll: () => server.closeAllConnections(),
    configMap: (name: string, data: object = {}): KubeObject =>
      ops.create(ops.resources.kind('ConfigMap'), 'default', {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name, namespace: 'default' },
        data,
      }),
    remove: (name: string) => ops.delete({ type: ops.resources.kind('ConfigMap'), namespace: 'default', name }),
  };
}

function follow(client: KubeClient, options: { silenceMs?: number; read?: (o: KubeObject) => string } = {}) {
  const copy = new Map<string, string>();
  const troubles: string[] = [];
  const reflector = new Reflector<string>({
    client,
    resource: core('configmaps'),
    read: (o) => o.metadata.resourceVersion ?? '',
    onReplace: (items) => {
      copy.clear();
      for (const [k, v] of items) copy.set(k, v);
    },
    onEvent: (k, v) => (v === undefined ? copy.delete(k) : copy.set(k, v)),
    onTrouble: ({ what, error }) => troubles.push(`${what}: ${(error as Error).message}`),
    random: () => 0.1,
    ...options,
  }).start();
  cleanups.push(() => reflector[Symbol.asyncDispose]());
  return { copy, reflector, troubles };
}
const truth = (ops: Operations): Map<string, string> =>
  new Map(
    ops.store
      .list(ops.resources.kind('ConfigMap'))
      .map((o) => [`default/${o.metadata.name}`, o.metadata.resourceVersion]),
  );
async function until(holds: () => boolean, ms = 15_000): Promise<void> {
  const end = performance.now() + ms;
  while (!holds() && performance.now() < end) await new Promise((r) => setTimeout(r, 20));
}
const same = (a: Map<string, string>, b: Map<string, string>): boolean =>
  JSON.stringify([...a].sort()) === JSON.stringify([...b].sort());

describe('Reflector', () => {
  test('an object that cannot be read is left out, and all others are seen', async () => {
    const api = await startApi();
    api.configMap('bad1');
    api.configMap('good1');
    const read = (o: KubeObject): string => {
      if (o.metadata.name.startsWith('bad')) throw new TypeError('odd');
      return o.metadata.resourceVersion ?? '';
    };
    const { copy, reflector, troubles } = follow(api.client, { read });
    await reflector.synced();
    api.configMap('bad2');
    api.configMap('good2');
    await until(() => copy.has('default/good2'));
    expect([...copy.keys()].sort()).toEqual(['default/good1', 'default/good2']);
    expect(troubles).toEqual(['read configmaps default/bad1: odd', 'read configmaps default/bad2: odd']);
  });

  test('a list in pages, then changes as they come', async () => {
    const api = await startApi();
    for (let i = 0; i < 1200; i++) api.configMap(`c${i}`);
    const { copy, reflector } = follow(api.client);
    await reflector.synced();
    expect(copy.size).toBe(1200);
    expect(api.requests.filter((r) => r.includes('limit=500'))).toHaveLength(3);
    api.configMap('new');
    api.remove('c7');
    await until(() => same(copy, truth(api.ops)));
    expect(copy).toEqual(truth(api.ops));
    expect(reflector.stats.relists).toBe(1);
  });

  test.each(['500', '429', 'refuse'] as const)(
    '%s for a while: the copy is true again afterwards, without a storm of requests',
    async (fault) => {
      const api = await startApi();
      const { copy, reflector } = follow(api.client);
      await reflector.synced();
      await until(() => reflector.stats.watches > 0);
      const before = api.requests.length;
      api.setFault(fault);
      api.cutAll();
      for (let i = 0; i < 10; i++) api.configMap(`during${i}`);
      await new Promise((r) => setTimeout(r, 1500));
      expect(api.requests.length - before).toBeLessThan(15);
      api.setFault('none');
      await until(() => same(copy, truth(api.ops)));
      expect(copy).toEqual(truth(api.ops));
    },
  );

  test('compacted while away: 410 leads to a list that replaces everything, deletions included', async () => {
    const api = await startApi();
    for (let i = 0; i < 5; i++) api.configMap(`c${i}`);
    const { copy, reflector } = follow(api.client);
    await reflector.synced();
    await until(() => reflector.stats.watches > 0);
    api.setFault('refuse');
    api.cutAll();
    api.remove('c1');
    api.configMap('c9');
    api.ops.store.compact();
    api.setFault('none');
    await until(() => same(copy, truth(api.ops)));
    expect(copy).toEqual(truth(api.ops));
    expect(reflector.stats.relists).toBe(2);
  });

  test('the stream cut at any byte loses nothing', async () => {
    const api = await startApi();
    const { copy, reflector } = follow(api.client);
    await reflector.synced();
    await until(() => reflector.stats.watches > 0);
    for (let after = 1; after < 270; after += 37) {
      const before = api.cuts();
      api.setFault('cut', after);
      api.cutAll();
      // Written before the next watch begins: it comes through the stream that is cut inside its line.
      api.configMap(`c${after}`, { text: 'ü'.repeat(20) });
      await until(() => api.cuts() > before && same(copy, truth(api.ops)));
      expect(copy).toEqual(truth(api.ops));
      expect(api.cuts()).toBe(before + 1);
    }
  });

  test('a watch that falls silent is noticed and begun again', async () => {
    const api = await startApi();
    api.setFault('silent');
    const { copy, reflector, troubles } = follow(api.client, { silenceMs: 400 });
    await reflector.synced();
    await until(() => reflector.stats.watches > 0);
    api.configMap('unseen');
    await until(() => troubles.length > 0);
    expect(troubles[0]).toMatch(/silent for 400 ms/);
    api.setFault('none');
    await until(() => same(copy, truth(api.ops)));
    expect(copy).toEqual(truth(api.ops));
  });
});

describe('Lease', () => {
  const times = { leaseMs: 600, renewMs: 400, retryMs: 100 };
  const candidate = (client: KubeClient, identity: string, signal: AbortSignal) =>
    acquireLease({ client, namespace: 'default', name: 'l', identity, ...times }, signal);

  test('one of many leads, and when it lets go or dies another does, with a higher epoch', async () => {
    const api = await startApi();
    const stop = new AbortController();
    cleanups.push(() => stop.abort());
    const won: string[] = [];
    const stops = ['a', 'b', 'c'].map(() => new AbortController());
    const all = ['a', 'b', 'c'].map((id, i) =>
      candidate(api.client, id, AbortSignal.any([stop.signal, stops[i]!.signal])).then((l) => (l && won.push(id), l)),
    );
    await until(() => won.length > 0);
    await new Promise((r) => setTimeout(r, 900));
    expect(won).toHaveLength(1);
    const first = await all[['a', 'b', 'c'].indexOf(won[0]!)]!;
    expect(first?.epoch).toBe(1);
    await first?.release();
    await until(() => won.length > 1);
    const second = await all[['a', 'b', 'c'].indexOf(won[1]!)]!;
    expect(second?.epoch).toBe(2);
    // Dies without a word: the third waits for the whole lease.
    stops[['a', 'b', 'c'].indexOf(won[1]!)]!.abort();
    await until(() => won.length > 2);
    expect(new Set(won)).toEqual(new Set(['a', 'b', 'c']));
    stop.abort();
  });

  test('times written by a skewed clock decide nothing; who loses the Lease is told', async () => {
    const api = await startApi();
    const stop = new AbortController();
    cleanups.push(() => stop.abort());
    const held = await candidate(api.client, 'a', stop.signal);
    const leases = { group: 'coordination.k8s.io', version: 'v1', plural: 'leases' };
    // Somebody an hour behind takes it over by force.
    const lease = await api.client.get(leases, 'l', 'default');
    await api.client.patch(leases, 'l', 'default', {
      spec: {
        ...(lease['spec'] as object),
        holderIdentity: 'thief',
        renewTime: '2001-01-01T00:00:00.000000Z',
        leaseTransitions: 2,
      },
    });
    expect(await held?.lost).toMatch(/went to thief/);
    // The thief's times are old, but it was seen to write just now: nobody takes the Lease from it before it has been still for long.
    const began = performance.now();
    const next = await candidate(api.client, 'b', stop.signal);
    expect(next?.epoch).toBe(3);
    expect(performance.now() - began).toBeGreaterThan(500);
    stop.abort();
  });

  test('a holder that cannot renew leaves in time', async () => {
    const api = await startApi();
    const stop = new AbortController();
    cleanups.push(() => stop.abort());
    const held = await candidate(api.client, 'a', stop.signal);
    api.setFault('500');
    expect(await held?.lost).toMatch(/could not be renewed/);
  });
});

describe('the API server', () => {
  test('writes with an old version are refused, and preconditions hold', async () => {
    const { client, configMap } = await startApi();
    const made = configMap('c', { a: '1' });
    await client.replace(core('configmaps'), { ...made, data: { a: '2' } });
    await expect(client.replace(core('configmaps'), { ...made, data: { a: '3' } })).rejects.toMatchObject({
      code: 'Conflict',
    });
    await expect(
      client.delete(core('configmaps'), 'c', 'default', { preconditions: { uid: 'other' } }),
    ).rejects.toMatchObject({ code: 'Conflict' });
    await expect(
      client.create(core('configmaps'), {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'c', namespace: 'default' },
      }),
    ).rejects.toMatchObject({ code: 'AlreadyExists' });
  });

  test.each([
    ['application/merge-patch+json', { data: { a: null, b: '2' } }, { b: '2', keep: 'x' }],
    ['application/json-patch+json', [{ op: 'replace', path: '/data/a', value: '9' }], { a: '9', keep: 'x' }],
    ['application/strategic-merge-patch+json', { data: { a: '5' } }, { a: '5', keep: 'x' }],
  ])('%s', async (contentType, body, data) => {
    const { client, configMap } = await startApi();
    configMap('c', { a: '1', keep: 'x' });
    expect(await client.json('PATCH', '/api/v1/namespaces/default/configmaps/c', { body, contentType })).toMatchObject({
      data,
    });
  });

  test('lists in a template are merged by their keys; a pod keeps its containers', async () => {
    const { client, ops } = await startApi();
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p', namespace: 'default' },
      spec: {
        containers: [
          { name: 'a', image: '1', ports: [{ containerPort: 80 }] },
          { name: 'b', image: '1' },
        ],
      },
    };
    const labels = { app: 'p' };
    ops.create(ops.resources.kind('Pod', ''), 'default', pod);
    ops.create(ops.resources.kind('Deployment'), 'default', {
      metadata: { name: 'd' },
      spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec: pod.spec } },
    });
    const patch = {
      spec: {
        containers: [
          { name: 'a', image: '2' },
          { name: 'b', $patch: 'delete' },
          { name: 'c', image: '3' },
        ],
        $setElementOrder: 1,
      },
    };
    const send = (path: string, body: object): Promise<KubeObject> =>
      client.json('PATCH', path, { body, contentType: 'application/strategic-merge-patch+json' });
    type Spec = { containers: { name: string; image: string; ports?: unknown[] }[] };
    const after = (await send('/apis/apps/v1/namespaces/default/deployments/d', { spec: { template: patch } })) as {
      spec: { template: { spec: Spec } };
    } & KubeObject;
    await expect(send('/api/v1/namespaces/default/pods/p', patch)).rejects.toThrow(/may not (add or remove|change)/);
    expect(after.spec.template.spec.containers.map((c) => [c.name, c.image, c.ports?.length ?? 0])).toEqual([
      ['a', '2', 1],
      ['c', '3', 0],
    ]);
  });

  test('finalizers keep an object until the last is gone; owners take their own with them', async () => {
    const { client, configMap } = await startApi();
    configMap('c');
    await client.patch(core('configmaps'), 'c', 'default', { metadata: { finalizers: ['x/y'] } });
    await client.delete(core('configmaps'), 'c', 'default');
    expect((await client.get(core('configmaps'), 'c', 'default')).metadata.deletionTimestamp).toBeDefined();
    await client.patch(core('configmaps'), 'c', 'default', { metadata: { finalizers: [] } });
    await expect(client.get(core('configmaps'), 'c', 'default')).rejects.toMatchObject({ code: 'NotFound' });
  });

  test('what it does not do is refused with a message, without a token nothing is answered', async () => {
    const { client, requests } = await startApi();
    await expect(client.json('GET', '/api/v1/namespaces/default/pods/p/log')).rejects.toThrow(
      /501 .*bulkhead lab exec/,
    );
    await expect(client.json('GET', '/apis/nope/v1/things')).rejects.toMatchObject({ code: 'NotFound' });
    await expect(client.list(core('configmaps'), { labelSelector: 'a in' })).rejects.toThrow(/label selector/);
    expect(requests.length).toBeGreaterThan(0);
  });
});
