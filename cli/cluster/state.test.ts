import { describe, expect, test } from 'vitest';
import { RESOURCES, type ResourceName } from '../../api/kinds/resources.ts';
import { planConversion } from '../../core/decide/convert.ts';
import { viewOf } from '../../core/view/view.ts';
import type { KubeList, Resource } from '../../lib/kube/client.ts';
import { loadState } from './state.ts';

type Objects = Partial<Record<ResourceName, readonly object[]>>;

/** A cluster that serves these objects; `refuse`: what it says of a kind instead. */
function cluster(objects: Objects, refuse: Partial<Record<ResourceName, 'NotFound' | 'Forbidden' | 'Failed'>> = {}) {
  const asked: string[] = [];
  return {
    asked,
    podCIDRs: ['10.244.0.0/16'],
    list: async (resource: Resource): Promise<KubeList> => {
      asked.push(resource.plural);
      const [name] = Object.entries(RESOURCES).find(([, r]) => r === resource) ?? [];
      const code = refuse[name as ResourceName];
      if (code) throw Object.assign(new Error(`no ${resource.plural}`), { code });
      return await Promise.resolve({
        metadata: { resourceVersion: '1' },
        items: objects[name as ResourceName] ?? [],
      } as unknown as KubeList);
    },
  };
}

const namespace = (name: string): object => ({ metadata: { name, uid: name } });
const pod = (ns: string, name: string, ip: string): object => ({
  metadata: { namespace: ns, name, uid: name },
  spec: { nodeName: 'n1', containers: [{ name: 'c', ports: [{ containerPort: 80 }] }] },
  status: { phase: 'Running', podIP: ip, conditions: [{ type: 'Ready', status: 'True' }] },
});
const node = {
  metadata: { name: 'n1', uid: 'n1' },
  spec: { podCIDR: '10.244.1.0/24' },
  status: { addresses: [{ type: 'InternalIP', address: '192.0.2.11' }] },
};
const WORLD: Objects = {
  namespaces: [namespace('shop'), namespace('other')],
  nodes: [node],
  pods: [pod('shop', 'a', '10.244.1.5'), pod('other', 'b', '10.244.1.6')],
};

describe('the cluster as commands see it', () => {
  test('isolate --dry-run knows egress.defaultMode of the BulkheadConfig', async () => {
    const cut = async (objects: Objects): Promise<string[]> =>
      planConversion(viewOf(await loadState(cluster(objects))), 'shop', { nodePort: 10_250 })
        .changes.filter((c) => c.before === 'open' && c.from === 'pods of shop')
        .map((c) => c.to);
    expect(await cut(WORLD)).toContain('the outside');
    const config = { metadata: { name: 'default' }, spec: { egress: { defaultMode: 'NAT' } } };
    expect(await cut({ ...WORLD, bulkheadConfigs: [config] })).not.toContain('the outside');
  });

  test('NetworkAttachmentDefinitions count: a pod that asks for one is on its network', async () => {
    const definition = {
      metadata: { namespace: 'shop', name: 'blue' },
      spec: { config: JSON.stringify({ cniVersion: '1.0.0', type: 'bulkhead', network: 'shop/blue' }) },
    };
    const { definitions } = await loadState(cluster({ ...WORLD, attachmentDefinitions: [definition] }));
    expect([...(definitions?.keys() ?? [])]).toEqual(['shop/blue']);
  });

  test('a kind that the cluster lacks, or that the user may not list, counts as none if it is optional, and else is an error', async () => {
    for (const name of Object.keys(RESOURCES) as ResourceName[])
      for (const code of ['NotFound', 'Forbidden', 'Failed'] as const) {
        const target = cluster({ ...WORLD, bulkheadConfigs: [REGISTERED] }, { [name]: code });
        const found = await loadState(target).then(
          () => 'loaded',
          (error: { code: string }) => error.code,
        );
        const wanted = RESOURCES[name].optional && code !== 'Failed' ? 'loaded' : code;
        // Without the switch that it holds, nothing asks for the callers of the API server.
        expect([name, code, found]).toEqual([name, code, wanted]);
      }
  });

  test('what names Services for the API server is listed only where a switch says Registered', async () => {
    const plain = cluster(WORLD);
    await loadState(plain);
    expect(plain.asked).not.toContain('customresourcedefinitions');
    const switched = cluster({ ...WORLD, bulkheadConfigs: [REGISTERED] });
    await loadState(switched);
    expect(switched.asked).toContain('customresourcedefinitions');
    expect(new Set(switched.asked)).toEqual(new Set(Object.values(RESOURCES).map((r) => r.plural)));
  });

  test('addresses that only nodes know are asked for when they matter, and without an answer those of the API count', async () => {
    const target = {
      ...cluster(WORLD),
      nodeAddresses: () => Promise.resolve(new Map([['n1', [{ dev: 'eth0', ip: '192.0.2.111' }]]])),
    };
    expect((await loadState(target)).nodes.get('n1')?.further).toEqual([]);
    expect((await loadState(target, { nodeAddresses: true })).nodes.get('n1')?.further).toEqual(['192.0.2.111']);
    const silent = { ...cluster(WORLD), nodeAddresses: () => Promise.reject(new Error('no right to exec')) };
    expect((await loadState(silent, { nodeAddresses: true })).nodes.get('n1')?.addresses).toEqual(['192.0.2.11']);
  });
});

const REGISTERED = { metadata: { name: 'default' }, spec: { apiServerAccess: 'Registered' } };
