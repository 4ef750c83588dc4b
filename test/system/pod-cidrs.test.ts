import { expect, test } from 'vitest';
import { startAgent } from '../../lab/world/lab.ts';
import { pod, shop, useLab } from './lab.ts';
import { readyWhen, soonConnected } from './node-changes.ts';

// A node is removed and added again with other pod CIDRs, and another node takes the former ones; its agent goes on.

const lab = useLab('podcidrs', { nodes: 3 });

type Node = {
  metadata: { labels: object };
  spec: { podCIDRs: string[] };
  status: { conditions: { type: string }[] };
};

const both = (name: string): string => ['flat', 'iso'].map((ns) => pod(ns, name, { node: 'n3' })).join('\n---\n');
const isNew = (ip: string): boolean => ip.startsWith('10.244.77.') || ip.includes(':77:');

/** Pods that start on the node now have addresses of its present CIDRs, and everybody reaches them. */
async function newPods(name: string): Promise<void> {
  await lab.apply(both(name));
  for (const ns of ['flat', 'iso'])
    for (const f of [4, 6] as const) expect([ns, f, isNew(await lab.ip(`${ns}/${name}`, f))]).toEqual([ns, f, true]);
  expect(await soonConnected(lab, 'p1', name)).toEqual([]);
}

/** The node under new CIDRs, and an heir of the former ones that no program runs on. */
async function renumber(): Promise<string[]> {
  const node = JSON.parse(await lab.kubectl('get', 'node', 'n3', '-o', 'json')) as Node;
  const { podCIDRs } = node.spec;
  const next = podCIDRs.map((c) => c.replace(/^10\.244\.\d+\./, '10.244.77.').replace(/:[0-9a-f]+::/, ':77::'));
  expect(next).not.toEqual(podCIDRs);
  const conditions = node.status.conditions.filter((c) => c.type === 'Ready');
  const addresses = ['192.0.2.99', '2001:db8:2::99'].map((address) => ({ type: 'InternalIP', address }));
  await lab.kubectl('delete', 'node', 'n3');
  for (const { name, cidrs, status, unschedulable } of [
    { name: 'n3', cidrs: next, status: { ...node.status, conditions }, unschedulable: false },
    { name: 'heir', cidrs: podCIDRs, status: { addresses }, unschedulable: true },
  ]) {
    const labels = { ...node.metadata.labels, 'kubernetes.io/hostname': name };
    const spec = { podCIDR: cidrs[0], podCIDRs: cidrs, unschedulable };
    await lab.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name, labels }, spec }), {
      wait: false,
    });
    await lab.kubectl('patch', 'node', name, '--subresource=status', '--type=merge', '-p', JSON.stringify({ status }));
  }
  return podCIDRs;
}

test('new pods get addresses of the present CIDRs, older ones are named, and the former range is its heir’s', async () => {
  await lab.apply([shop('flat', { isolated: false }), shop('iso'), both('p3')].join('\n---\n'));
  expect(await soonConnected(lab, 'p1', 'p3')).toEqual([]);
  const [before = ''] = await renumber();
  expect(await readyWhen(lab, 'n3', (c) => c.includes('PodsOutsidePodCIDR'))).toMatch(
    /^False PodsOutsidePodCIDR .*flat\/p3, iso\/p3/,
  );
  await newPods('fresh');
  await lab.kill('agent-n3');
  startAgent(lab.spec, 'n3');
  await newPods('afterwards');
  for (const node of ['n1', 'n3'])
    expect(await lab.onNode(node, 'ip', 'route', 'get', before.replace('.0/24', '.200'))).toContain(
      `via ${before.split('/')[0]} dev bh0`,
    );
  await lab.kubectl('delete', 'pod', '-n', 'flat', 'p3');
  await lab.kubectl('delete', 'pod', '-n', 'iso', 'p3');
  await lab.kubectl('delete', 'pod', '-n', 'kube-system', '--all'); // DNS may run there
  expect(await readyWhen(lab, 'n3', (c) => c.startsWith('True'))).toMatch(/^True/);
});
