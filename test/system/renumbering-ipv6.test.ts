import { describe, expect, test } from 'vitest';
import { startAgent } from '../../lab/world/lab.ts';
import { pod, shop, useLab } from './lab.ts';
import { readyWhen } from './node-changes.ts';

// The address of a node changes while everything runs, where nodes have IPv6 only.

const lab = useLab('renumber6', { nodes: 2, family: 'ipv6' });

async function setAddress(node: string, before: string, after: string): Promise<void> {
  await lab.onNode(node, 'ip', 'addr', 'add', `${after}/64`, 'dev', 'eth0', 'nodad');
  await lab.onNode(node, 'ip', 'addr', 'del', `${before}/64`, 'dev', 'eth0');
  const addresses = await lab.kubectl('get', 'node', node, '-o', 'jsonpath={.status.addresses}');
  const status = { addresses: JSON.parse(addresses.replaceAll(before, after)) as unknown };
  await lab.kubectl('patch', 'node', node, '--subresource=status', '--type=merge', '-p', JSON.stringify({ status }));
}

/** What is wrong between pods of both nodes, and across networks, when it has settled. */
const wrong = (): Promise<string[]> =>
  lab.eventually(
    async () => {
      const found: string[] = [];
      for (const ns of ['flat', 'iso'])
        for (const [from, to] of [
          ['p1', 'p2'],
          ['p2', 'q1'],
        ]) {
          const got = await lab.connect(`${ns}/${from}`, await lab.ip(`${ns}/${to}`, 6), 8080);
          if (got !== `open:${ns}/${to}`) found.push(`${ns}/${from} → ${to}: ${got}`);
        }
      for (const from of ['flat/p1', 'flat/p2']) {
        const got = await lab.connect(from, await lab.ip('iso/p2', 6), 8080);
        if (got.startsWith('open')) found.push(`${from} → iso/p2: ${got}`);
      }
      return found;
    },
    (found) => found.length === 0,
    40_000,
  );

describe('the IPv6 address of a node', () => {
  test('set-up', async () => {
    await lab.apply([shop('flat', { isolated: false }), shop('iso')].join('\n---\n'));
    expect(await wrong()).toEqual([]);
  });

  test('changes: overlays are made again on the new one, also when the agent was away; new pods too', async () => {
    const before = (await lab.view()).state.nodes.get('n2')?.addresses[0] ?? '';
    const [first, second] = [before.replace(/12$/, '32'), before.replace(/12$/, '33')];
    expect(first).not.toBe(before);
    await setAddress('n2', before, first);
    expect(await wrong()).toEqual([]);
    await lab.kill('agent-n2');
    await setAddress('n2', first, second);
    startAgent(lab.spec, 'n2');
    expect(await wrong()).toEqual([]);
    expect(await readyWhen(lab, 'n2', (c) => c.startsWith('True'))).toMatch(/^True/);
    const link = await lab.onNode('n2', 'ip', '-d', 'link', 'show', 'bh0');
    expect(link).toContain(`local ${second}`);
    await lab.apply(['flat', 'iso'].map((ns) => pod(ns, 'late', { node: 'n2' })).join('\n---\n'));
    for (const ns of ['flat', 'iso'])
      expect(await lab.connect(`${ns}/p1`, await lab.ip(`${ns}/late`, 6), 8080)).toBe(`open:${ns}/late`);
  });
});
