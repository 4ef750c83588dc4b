import { describe, expect, test } from 'vitest';
import { API_SERVER_ACCESS } from '../../api/nodeconfig.ts';
import { readEndpointSlice, readNode } from '../read/objects.ts';
import { emptyClusterState } from '../cluster/state.ts';
import { apiServerAccess } from './access.ts';
import { apiServerHosts } from './hosts.ts';
import { readApiService, readConversion, readWebhooks } from '../read/called-ports.ts';
import { registeredPorts } from './registered.ts';

const node = (name: string, address: string) =>
  readNode({ metadata: { name }, status: { addresses: [{ type: 'InternalIP', address }] } });
const slice = (name: string, service: string, ...addresses: string[]) =>
  readEndpointSlice({
    metadata: { name, namespace: 'default', labels: { 'kubernetes.io/service-name': service } },
    addressType: 'IPv4',
    endpoints: addresses.map((a) => ({ addresses: [a] })),
  });
const state = (...slices: ReturnType<typeof slice>[]) => ({
  ...emptyClusterState,
  nodes: new Map([node('n1', '192.0.2.11'), node('n2', '192.0.2.12')].map((n) => [n.name, n])),
  slices: new Map(slices.map((s) => [`default/${s.name}`, s])),
  podCIDRs: ['10.244.0.0/16'],
  serviceCIDRs: ['10.96.0.0/16'],
});

describe('hosts of the API server', () => {
  test('a node by its name, another host by its address', () => {
    expect(apiServerHosts(state(slice('kubernetes', 'kubernetes', '192.0.2.2', '192.0.2.12')))).toEqual({
      nodes: ['n2'],
      addresses: ['192.0.2.2'],
    });
  });

  test.each([
    ['another slice of the Service', slice('kubernetes-x', 'kubernetes', '192.0.2.12')],
    ['the name with another Service', slice('kubernetes', 'trap', '192.0.2.12')],
    ['pods and Services', slice('kubernetes', 'kubernetes', '10.244.1.7', '10.96.0.10')],
  ])('%s: none', (_, s) => {
    expect(apiServerHosts(state(s))).toEqual({ nodes: [], addresses: [] });
  });
});

test('the narrower of cluster and network counts', () => {
  const settings = {
    isolateNew: false,
    since: undefined,
    exceptNames: [],
    exceptLabels: undefined,
    egress: 'None' as const,
  };
  for (const [i, cluster] of API_SERVER_ACCESS.entries())
    for (const [j, network] of API_SERVER_ACCESS.entries()) {
      const spec = { apiServerAccess: network } as Parameters<typeof apiServerAccess>[1]['spec'];
      const said = apiServerAccess({ settings: { ...settings, apiServerAccess: cluster } }, { spec });
      expect([cluster, network, said]).toEqual([cluster, network, API_SERVER_ACCESS[Math.min(i, j)]]);
    }
  expect(apiServerAccess({}, { spec: undefined })).toBe('All');
});

test('ports that webhooks, conversions and aggregated APIs name; what is no such object names none', () => {
  const service = { namespace: 'a', name: 'hook' };
  const called = new Map([
    ['w', readWebhooks({ webhooks: [{ clientConfig: { service } }, { clientConfig: { url: 'https://x' } }] })],
    [
      'c',
      readConversion({ spec: { conversion: { webhook: { clientConfig: { service: { ...service, port: 8443 } } } } } }),
    ],
    ['s', readApiService({ spec: { service: { namespace: 'b', name: 'metrics', port: 443 } } })],
    ['own', readApiService({ spec: { service: null } })],
    ...[null, 7, [], { webhooks: 'x' }, { webhooks: [null, 7] }].map(
      (raw, i) =>
        [`odd ${i}`, [...readWebhooks((raw as never) ?? {}), ...readConversion((raw as never) ?? {})]] as const,
    ),
  ]);
  expect(registeredPorts({ called })).toEqual(
    new Map([
      ['a/hook', new Set([443, 8443])],
      ['b/metrics', new Set([443])],
    ]),
  );
});
