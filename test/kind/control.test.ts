import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { clusterStatus } from '../../cli/cluster/status.ts';
import {
  apply,
  checkoutFile,
  deleteNamespaces,
  eventually,
  get,
  isolatedNamespace,
  flatNamespace,
  kubectl,
  onNode,
  ready,
  refused,
  standIn,
  target,
  workers,
} from './cluster.ts';

const NAMESPACES = ['c-a', 'c-b'];
const network = (name: string, spec: string, namespace = 'c-a'): string => `
apiVersion: bulkhead.dev/v1alpha1
kind: VirtualNetwork
metadata: { name: ${name}, namespace: ${namespace} }
spec: ${spec}
---`;

beforeAll(async () => {
  await apply(
    [isolatedNamespace('c-a'), flatNamespace('c-b'), network('blue', '{}'), standIn('c-a', 'one')].join('\n'),
  );
  await ready('c-a');
});
afterAll(() => deleteNamespaces(...NAMESPACES, 'c-label', 'c-warn'));

describe('admission', () => {
  test('what an object alone tells is refused by the API server', async () => {
    expect(await refused(['label', 'namespace', 'c-b', 'bulkhead.dev/isolated=yes'])).toContain(
      'must be "true" or "false"',
    );
    expect(await refused(['annotate', 'namespace', 'c-b', 'bulkhead.dev/network=Not/A/Name'])).toContain(
      '"namespace/name"',
    );
    expect(await refused(['apply', '-f', '-'], network('bad', '{ mtu: 5 }'))).toContain('spec.mtu');
    expect(await refused(['apply', '-f', '-'], network('bad', '{ egress: { mode: Sometimes } }'))).toContain(
      'spec.egress.mode',
    );
    expect(
      await refused(
        ['apply', '-f', '-'],
        JSON.stringify({
          apiVersion: 'bulkhead.dev/v1alpha1',
          kind: 'AddressBlock',
          metadata: { name: 'x' },
          spec: { cidr: '10.9.0.0/28', node: 'n1', network: { namespace: 'a', name: 'b' } },
        }),
      ),
    ).toContain('written by the Bulkhead controller only');
    expect(await kubectl(['label', 'namespace', 'c-b', 'bulkhead.dev/isolated=false'])).toContain('labeled');
  });

  test('a pod that asks for a network which is not shared with it is refused; once shared it is taken', async () => {
    const wants = standIn('c-b', 'guest').replace(
      'labels: { app: guest }',
      'labels: { app: guest }, annotations: { bulkhead.dev/network: c-a/blue }',
    );
    expect(await refused(['apply', '-f', '-'], wants)).toContain('not shared with namespace c-b');
    await kubectl(['-n', 'c-a', 'patch', 'virtualnetwork', 'blue', '--type=merge', '-p', '{"spec":{"sharedWith":{}}}']);
    await eventually('the grant is known', async () => {
      await apply(wants);
      return true;
    });
    await ready('c-b');
    expect(await kubectl(['-n', 'c-a', 'get', 'virtualnetwork', 'blue'])).toMatch(
      /VNI\s+SUBNETS\s+EGRESS\s+READY\s+USED\s+AGE\nblue\s+\d+\s+None\s+True\s+\d/,
    );
  });

  test('a pod that names a network which is not there yet waits, with an event, and starts by itself', async () => {
    const wants = standIn('c-b', 'early').replace(
      'labels: { app: early }',
      'labels: { app: early }, annotations: { bulkhead.dev/network: later }',
    );
    await apply(wants);
    await eventually('an event that names the network', async () => {
      const events = await kubectl(['-n', 'c-b', 'get', 'events', '--field-selector', 'involvedObject.name=early']);
      return /NetworkNotFound.*VirtualNetwork c-b\/later does not exist/.test(events) ? true : undefined;
    });
    await apply(network('later', '{}', 'c-b'));
    await ready('c-b');
  });
});

describe('what operators see', () => {
  test('node conditions, status, leader', async () => {
    const status = await clusterStatus(target);
    expect(status.nodes.map((n) => [n.network, n.ready, n.reason])).toEqual(
      status.nodes.map(() => ['available', 'True', 'Ready']),
    );
    expect(status.components.filter((c) => !c.ready)).toEqual([]);
    expect(status.controller.leader).toMatch(/^bulkhead-controller-/);
  });

  test('another network configured on a node is told, nothing is overwritten, and it passes', async () => {
    const [node] = await workers();
    const other = '/etc/cni/net.d/10-other.conflist';
    await onNode(
      node,
      'sh',
      '-c',
      `echo '{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"loopback"}]}' > ${other}`,
    );
    const condition = async (): Promise<string> => {
      const { conditions } = (await get('node', node))['status'] as {
        conditions: { type: string; status: string; reason: string }[];
      };
      const c = conditions.find((x) => x.type === 'BulkheadReady');
      return `${c?.status} ${c?.reason}`;
    };
    try {
      await eventually('the condition names it', async () =>
        (await condition()) === 'False OtherNetworkConfigured' ? true : undefined,
      );
      expect(await onNode(node, 'cat', other)).toContain('"other"');
    } finally {
      await onNode(node, 'rm', '-f', other);
    }
    await eventually('and is over', async () => ((await condition()) === 'True Ready' ? true : undefined));
  });

  test('metrics are for those who may read them, by TLS', async () => {
    const [node] = await workers();
    await apply(`
apiVersion: v1
kind: ServiceAccount
metadata: { name: scraper, namespace: c-b }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: bulkhead-test-scraper }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: bulkhead-metrics-reader }
subjects: [{ kind: ServiceAccount, name: scraper, namespace: c-b }]
`);
    const ask = async (account: string, port: number): Promise<string> => {
      const token = (await kubectl(['-n', 'c-b', 'create', 'token', account])).trim();
      return await onNode(node, '/usr/bin/env', 'bash', '-c', scrape(node, port, token));
    };
    try {
      expect(
        await eventually('figures', async () => {
          const t = await ask('scraper', 9444);
          return t.includes('bulkhead_agent_cni_duration_seconds_bucket') ? t : undefined;
        }),
      ).toContain('bulkhead_agent_addresses{');
      expect(await ask('default', 9444)).toContain('bulkhead-metrics-reader');
      expect(await onNode(node, 'sh', '-c', 'ss -Hltn | grep -E ":944[0-9]" | grep -v 127.0.0.1 | wc -l')).not.toBe(
        '0\n',
      );
      expect(await onNode(node, 'sh', '-c', 'ss -Hltn | grep ":9445"')).toContain('127.0.0.1:9445');
    } finally {
      await kubectl(['delete', 'clusterrolebinding', 'bulkhead-test-scraper']);
    }
  });

  test('the dashboard names only figures that exist', () => {
    const text = checkoutFile('manifests/grafana/dashboard.json');
    const used = new Set(
      [...text.matchAll(/bulkhead_(?:agent|controller)_[a-z_]+/g)].map(([name]) =>
        name.replace(/_(bucket|sum|count)$/, ''),
      ),
    );
    const sources = checkoutFile('dataplane/metrics.ts') + checkoutFile('controller/metrics.ts');
    for (const name of used) expect(sources).toContain(name.replace(/^bulkhead_(agent|controller)_/, ''));
    expect(used.size).toBeGreaterThan(8);
  });
});

/** The node image has no curl: openssl speaks TLS, and the request is one line. */
const scrape = (_node: string, port: number, token: string): string =>
  `printf 'GET /metrics HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Bearer ${token}\\r\\nConnection: close\\r\\n\\r\\n' | timeout 10 openssl s_client -quiet -connect 127.0.0.1:${port} 2>/dev/null || true`;
