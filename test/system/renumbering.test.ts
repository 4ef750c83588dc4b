import { describe, expect, test } from 'vitest';
import { startAgent } from '../../lab/world/lab.ts';
import { pod, shop, useLab, virtualNetwork } from './lab.ts';
import { readyWhen, soonConnected } from './node-changes.ts';

// A node's address, its pod CIDRs, and the network of a fixed address change while everything runs.

const lab = useLab('renumber', { nodes: 3 });

async function setAddress(node: string, before: string, after: string): Promise<void> {
  await lab.onNode(node, 'sysctl', '-qw', 'net.ipv4.conf.eth0.promote_secondaries=1');
  await lab.onNode(node, 'ip', 'addr', 'add', `${after}/24`, 'dev', 'eth0');
  await lab.onNode(node, 'ip', 'addr', 'del', `${before}/24`, 'dev', 'eth0');
  await tellAddress(node, before, after);
}

/** What the kubelet writes when it finds another address. */
async function tellAddress(node: string, before: string, after: string): Promise<void> {
  const addresses = await lab.kubectl('get', 'node', node, '-o', 'jsonpath={.status.addresses}');
  const status = { addresses: JSON.parse(addresses.replaceAll(before, after)) as unknown };
  await lab.kubectl('patch', 'node', node, '--subresource=status', '--type=merge', '-p', JSON.stringify({ status }));
}

describe('a node changes', () => {
  test('set-up', async () => {
    const third = ['flat', 'iso'].map((ns) => pod(ns, 'p3', { node: 'n3' }));
    await lab.apply([shop('flat', { isolated: false }), shop('iso'), ...third].join('\n---\n'));
    expect(await soonConnected(lab, 'p1', 'p3')).toEqual([]);
  });

  test('its address: overlays are made again on the new one, also when the agent was away', async () => {
    await setAddress('n3', '192.0.2.13', '192.0.2.33');
    expect(await soonConnected(lab, 'p1', 'p3')).toEqual([]);
    await lab.kill('agent-n3');
    await setAddress('n3', '192.0.2.33', '192.0.2.34');
    startAgent(lab.spec, 'n3');
    expect(await soonConnected(lab, 'p1', 'p3')).toEqual([]);
    expect(await readyWhen(lab, 'n3', (c) => c.startsWith('True'))).toMatch(/^True/);
  });

  test('its address in the API is on no device: the condition says so, and not that all is well', async () => {
    await tellAddress('n3', '192.0.2.34', '192.0.2.35');
    expect(await readyWhen(lab, 'n3', (c) => c.startsWith('False'))).toMatch(
      /^False UnderlayAddressMissing .*192\.0\.2\.35/,
    );
    await tellAddress('n3', '192.0.2.35', '192.0.2.34');
    expect(await readyWhen(lab, 'n3', (c) => c.startsWith('True'))).toMatch(/^True/);
    expect(await soonConnected(lab, 'p1', 'p3')).toEqual([]);
  });
});

describe('a fixed address', () => {
  test('goes to a network of another name on the same node', async () => {
    const at = (network: string): Record<string, string> => ({
      'bulkhead.dev/network': network,
      'bulkhead.dev/ips': '10.90.0.77',
    });
    const subnet = { subnets: ['10.90.0.0/24'] };
    await lab.apply(
      [
        JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'f' } }),
        virtualNetwork('f', 'old', subnet),
        pod('f', 'p1', { node: 'n1', annotations: at('old') }),
      ].join('\n---\n'),
    );
    // Waits for its network, and asks for the address from now on.
    await lab.apply(pod('f', 'q1', { node: 'n1', annotations: at('new') }), { wait: false });
    expect(await lab.ip('f/p1')).toBe('10.90.0.77');
    await lab.kubectl('delete', 'pod', '-n', 'f', 'p1');
    await lab.kubectl('delete', 'vn', '-n', 'f', 'old');
    await lab.apply(virtualNetwork('f', 'new', subnet), { wait: false });
    expect(
      await lab.eventually(
        async () => (await lab.view()).state.pods.get('f/q1')?.ips[0],
        (ip) => ip === '10.90.0.77',
        40_000,
      ),
    ).toBe('10.90.0.77');
  });
});
