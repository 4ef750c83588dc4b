import { describe, expect, test } from 'vitest';
import { pod, shop, useLab } from '../system/lab.ts';

// One tenant's objects are as large as the API server takes them, or as many as their budgets allow (V4, V5): its own pods are closed,
// it is told which budget, and another tenant's pods come, connect and are policed as ever.

const lab = useLab('atk-budgets', { nodes: 2 });
const families = [4, 6] as const;
const each = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
const list = (count: number, make: (i: number) => string): string => each(count, make).join(',');
const openings = (ports: string, to: string): Record<string, string> => ({
  'bulkhead.dev/open-ports': ports,
  'bulkhead.dev/open-to': to,
});
const tcp = (count: number, step: number): object[] => each(count, (i) => ({ protocol: 'TCP', port: 1 + step * i }));
const cidrs = (count: number, first: number): object[] =>
  each(count, (i) => ({ ipBlock: { cidr: `${first}.${i >> 8}.${i & 255}.0/24` } }));
const policy = (namespace: string, name: string, spec: object): string =>
  JSON.stringify({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace },
    spec: { podSelector: {}, policyTypes: ['Ingress'], ...spec },
  });

const isReady = async (namespace: string, name: string): Promise<boolean> =>
  (
    await lab.kubectl(
      'get',
      'pod',
      '-n',
      namespace,
      name,
      '-o',
      "jsonpath={.status.conditions[?(@.type=='Ready')].status}",
    )
  ).includes('True');
const becomesReady = (namespace: string, name: string): Promise<boolean> =>
  lab.eventually(
    () => isReady(namespace, name),
    (r) => r,
    60_000,
  );
const verdict = async (from: string, to: string, family: 4 | 6): Promise<string> =>
  (await lab.connect(from, await lab.ip(to, family), 8080)).split(':')[0] ?? '';
const becomes = (from: string, to: string, family: 4 | 6, wanted: string): Promise<string> =>
  lab.eventually(
    () => verdict(from, to, family),
    (v) => v === wanted,
    30_000,
  );
const events = (namespace: string): Promise<string> => lab.kubectl('get', 'events', '-n', namespace);
const told = (namespace: string, text: RegExp): Promise<string> =>
  lab.eventually(
    () => events(namespace),
    (e) => text.test(e),
    30_000,
  );

/** Admission would refuse these objects: what holds without it is tried here. */
async function withoutAdmission(): Promise<void> {
  for (const kind of ['validatingwebhookconfigurations', 'validatingadmissionpolicybindings'])
    await lab.kubectl('delete', kind, '--all').catch(() => undefined);
}

let count = 0;
/** A new pod of the neighbour comes on a node, reaches its mates on both nodes, and is reached; and a policy of its own holds. */
async function neighbourIsWell(): Promise<void> {
  const name = `new${count++}`;
  await lab.apply(pod('neighbour', name, { node: 'n1' }), { wait: false });
  expect(await becomesReady('neighbour', name)).toBe(true);
  for (const f of families)
    for (const mate of ['neighbour/p1', 'neighbour/p2']) {
      expect([mate, f, await becomes(`neighbour/${name}`, mate, f, 'open')]).toEqual([mate, f, 'open']);
      expect([mate, f, await becomes(mate, `neighbour/${name}`, f, 'open')]).toEqual([mate, f, 'open']);
      expect(await verdict('hostile/p1', mate, f)).toBe('rejected');
    }
  await lab.apply(policy('neighbour', 'closed', { podSelector: { matchLabels: { app: 'web' } } }), { wait: false });
  for (const f of families) expect(await becomes('neighbour/p2', `neighbour/${name}`, f, 'closed')).toBe('closed');
  await lab.kubectl('delete', 'networkpolicy', '-n', 'neighbour', 'closed');
  for (const f of families) expect(await becomes('neighbour/p2', `neighbour/${name}`, f, 'open')).toBe('open');
}

describe('objects of one tenant', () => {
  test('policies as large as they can be stored: the pods that they select are closed, and nobody else', async () => {
    await lab.apply([shop('hostile'), shop('neighbour'), shop('flat', { isolated: false })].join('\n---\n'));
    await withoutAdmission();
    for (const f of families) expect(await becomes('hostile/p1', 'hostile/p2', f, 'open')).toBe('open');
    await lab.apply(policy('hostile', 'grid', { ingress: [{ from: cidrs(2_000, 20), ports: tcp(2_000, 4) }] }), {
      wait: false,
    });
    await lab.apply(policy('hostile', 'ports', { ingress: [{}, { ports: tcp(15_000, 4) }] }), { wait: false });
    await neighbourIsWell();
    // Its first rule would let everything in: of what is too large nothing counts.
    for (const f of families) {
      expect(await becomes('hostile/p1', 'hostile/p2', f, 'closed')).toBe('closed');
      expect(await becomes('hostile/p1', 'hostile/q1', f, 'closed')).toBe('closed');
    }
    expect(await told('hostile', /OverBudget .*grid/)).toMatch(
      /OverBudget .*grid .*2000 peers, and the budget policyPeers allows 512.*the budget policyPorts/,
    );
    expect(await told('hostile', /OverBudget .*ports/)).toMatch(/15000 ports, and the budget policyPorts allows 1024/);
    await lab.kubectl('delete', 'networkpolicy', '-n', 'hostile', 'grid', 'ports');
    for (const f of families) expect(await becomes('hostile/p1', 'hostile/p2', f, 'open')).toBe('open');
  });

  test('a policy of 500 prefixes and 500 ports is within its budget, and holds', async () => {
    const [mine, mate] = [await lab.ip('hostile/p1', 4), await lab.ip('hostile/q1', 4)];
    const from = [...cidrs(499, 20), { ipBlock: { cidr: `${mine}/32` } }];
    await lab.apply(policy('hostile', 'wide', { ingress: [{ from, ports: [...tcp(499, 3), { port: 8080 }] }] }), {
      wait: false,
    });
    expect(await becomes('hostile/q1', 'hostile/p2', 4, 'closed')).toBe('closed');
    expect([mate, await becomes('hostile/p1', 'hostile/p2', 4, 'open')]).toEqual([mate, 'open']);
    expect(await events('hostile')).not.toMatch(/OverBudget .*networkpolicy\/wide/i);
    await lab.kubectl('delete', 'networkpolicy', '-n', 'hostile', 'wide');
  });

  test('pods with annotations as long as they can be stored: one opens nothing, one waits; the twin opens what it says', async () => {
    await lab.apply(
      [
        pod('hostile', 'wide', {
          labels: {},
          node: 'n1',
          annotations: openings(
            list(32_000, (i) => `${1 + 2 * i}`),
            '*',
          ),
        }),
        pod('hostile', 'many', {
          labels: {},
          node: 'n1',
          annotations: { 'k8s.v1.cni.cncf.io/networks': list(125_000, () => 'a') },
        }),
        pod('hostile', 'narrow', {
          labels: {},
          node: 'n1',
          annotations: openings(
            list(60, (i) => `${8_080 + i}`),
            'flat',
          ),
        }),
        pod('hostile', 'all', { labels: {}, node: 'n2', annotations: openings('8000-8100', '*') }),
      ].join('\n---\n'),
      { wait: false },
    );
    await neighbourIsWell();
    for (const name of ['wide', 'narrow', 'all']) expect(await becomesReady('hostile', name)).toBe(true);
    for (const f of families)
      for (const from of ['flat/p1', 'flat/p2']) {
        for (const to of ['narrow', 'all'])
          expect([from, to, await becomes(from, `hostile/${to}`, f, 'open')]).toEqual([from, to, 'open']);
        expect(await verdict(from, 'hostile/wide', f)).toBe('rejected');
        expect(await verdict(from, 'hostile/p1', f)).toBe('rejected');
      }
    expect(await isReady('hostile', 'many')).toBe(false);
    expect(await told('hostile', /OverBudget .*many/)).toMatch(
      /pod hostile\/many: .*the budget annotationLength allows 4096/,
    );
    expect(await told('hostile', /OverBudget .*wide/)).toMatch(
      /pod hostile\/wide opens nothing: .*the budget annotationLength/,
    );
    expect(await lab.differences()).toEqual([]);
    await lab.kubectl('delete', 'pod', '-n', 'hostile', 'wide', 'many', 'narrow', 'all');
  });

  test('as many policies as the budgets allow, and more: the oldest hold, the newest are closed, and the neighbour is well', async () => {
    const many = each(40, (i) =>
      policy('hostile', `p${i}`, { ingress: [{ from: cidrs(100, 20 + i), ports: tcp(400, 3) }] }),
    );
    await lab.apply(many.join('\n---\n'), { wait: false });
    await neighbourIsWell();
    expect(await told('hostile', /profileCells/)).toMatch(/OverBudget .*the budget profileCells allows 8192/);
    for (const f of families) expect(await becomes('hostile/p1', 'hostile/p2', f, 'closed')).toBe('closed');
    await lab.kubectl('delete', 'networkpolicy', '-n', 'hostile', '--all');
    for (const f of families) expect(await becomes('hostile/p1', 'hostile/p2', f, 'open')).toBe('open');
  });
});
