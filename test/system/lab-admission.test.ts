import { describe, expect, test } from 'vitest';
import { ExecError } from '../../lib/exec/exec.ts';
import { listProcesses } from '../../lab/world/processes.ts';
import { startController } from '../../lab/world/lab.ts';
import { pod, shop, useLab, virtualNetwork } from './lab.ts';

// The API server of the lab, the policies and the webhook of manifests/admission, and the real controller behind it.

const lab = useLab('admission', { nodes: 2, manifests: [] });

const namespace = (name: string, metadata: object = {}): string =>
  JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, ...metadata } });
const deployment = (name: string, annotations: object): string =>
  JSON.stringify({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: 'a' },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name }, annotations },
        spec: { containers: [{ name: 'c', image: 'x', ports: [{ containerPort: 8080 }] }] },
      },
    },
  });

/** What kubectl prints, warnings and refusals too. */
async function kubectl(...args: string[]): Promise<string> {
  try {
    return await lab.kubectl(...args);
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    return error.result.stderr;
  }
}

describe('admission, as in a cluster', () => {
  test('policies: a mistyped label is refused, the right one isolates', async () => {
    await expect(lab.apply(namespace('typo', { labels: { 'bulkhead.dev/isolated': 'yes' } }))).rejects.toThrow(
      /ValidatingAdmissionPolicy 'bulkhead-namespaces' .* must be "true" or "false"/,
    );
    await lab.apply([shop('a'), shop('b')].join('\n---\n'));
    expect(await kubectl('label', 'ns', 'a', 'bulkhead.dev/isolated=maybe', '--overwrite')).toMatch(
      /must be "true" or "false"/,
    );
    expect(await lab.connect('a/p1', await lab.ip('a/p2'), 8080)).toBe('open:a/p2');
    expect(await lab.connect('b/p1', await lab.ip('a/p2'), 8080)).toBe('rejected');
  });

  test('the webhook: what needs the state of the cluster is refused or warned of, with words', async () => {
    await lab.apply(virtualNetwork('a', 'blue', { subnets: ['10.60.0.0/24'] }), { wait: false });
    await expect(lab.apply(virtualNetwork('b', 'clash', { subnets: ['10.60.0.0/25'] }))).rejects.toThrow(
      /admission webhook "networks.bulkhead.dev" denied the request: .*overlaps/,
    );
    await lab.apply(virtualNetwork('b', 'green', { subnets: ['10.61.0.0/24'] }), { wait: false });
    const foreign = { 'bulkhead.dev/network': 'b/green' };
    await expect(lab.apply(pod('a', 'guest', { annotations: foreign }))).rejects.toThrow(/not shared with namespace a/);
    await lab.apply(pod('b', 'member', { annotations: foreign }));
    expect(await lab.ip('b/member')).toMatch(/^10\.61\./);
  });

  test('rules of our kinds: refused with the field', async () => {
    await expect(lab.apply(virtualNetwork('a', 'bad', { subnets: ['10.0.0.0/33'] }))).rejects.toThrow(
      /spec\.subnets\[0\]: must be a CIDR prefix/,
    );
    await expect(
      lab.apply(virtualNetwork('a', 'bad', { egress: { mode: 'None', addresses: ['203.0.113.5'] } })),
    ).rejects.toThrow(/spec\.egress: addresses need mode NAT/);
  });

  test('pods that a controller makes are judged as well; an event tells its owner', async () => {
    await lab.apply(deployment('stranger', { 'bulkhead.dev/network': 'b/green' }), { wait: false });
    const events = await lab.eventually(
      () => kubectl('get', 'events', '-n', 'a', '-o', 'jsonpath={.items[*].message}'),
      (text) => text.includes('Error creating'),
    );
    expect(events).toMatch(/Error creating: admission webhook "pods.bulkhead.dev" denied the request: .*not shared/);
    await lab.kubectl('delete', 'deployment', '-n', 'a', 'stranger');
    await lab.apply(deployment('native', { 'bulkhead.dev/network': 'blue' }));
    expect(
      await kubectl('get', 'pods', '-n', 'a', '-l', 'app=native', '-o', 'jsonpath={.items[*].status.podIP}'),
    ).toMatch(/^10\.60\.\S+ 10\.60\.\S+$/);
  });

  test('address blocks are the controller’s own', async () => {
    const blocks = (await lab.client.list({ group: 'bulkhead.dev', version: 'v1alpha1', plural: 'addressblocks' }))
      .items;
    expect(blocks.length).toBeGreaterThan(0);
    const { name } = blocks[0]!.metadata;
    expect(await kubectl('annotate', 'addressblock', name, 'x=y')).toMatch(/written by the Bulkhead controller only/);
  });

  test('without a controller networks are closed, pods go on; with one again, networks are open again', async () => {
    await lab.kill('controller');
    expect(listProcesses(lab.name).length).toBeGreaterThan(0);
    await expect(lab.apply(virtualNetwork('a', 'late'), { wait: false })).rejects.toThrow(
      /failed calling webhook "networks.bulkhead.dev"/,
    );
    await lab.apply(pod('a', 'late', { annotations: { 'bulkhead.dev/network': 'blue' } }), { wait: false });
    startController(lab.spec);
    const outcome = await lab.eventually(
      () => lab.apply(virtualNetwork('a', 'late'), { wait: false }).then(() => '', String),
      (text) => text === '',
      60_000,
    );
    expect(outcome).toBe('');
    await lab.ready();
    expect(await lab.ip('a/late')).toMatch(/^10\.60\./);
  });
});
