import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { Source } from '../../core/decide/decide.ts';
import { askAbout } from '../../core/decide/ends.ts';
import { explain } from '../../core/decide/explain.ts';
import { expect as expectedOf } from '../../core/decide/reach.ts';
import { traceFrom } from '../../core/decide/trace-from.ts';
import type { Target } from '../../core/decide/decision.ts';
import type { View } from '../../core/view/view.ts';
import { EXIT } from '../../cli/terminal/exit-codes.ts';
import { podNamespaces } from '../../cli/target/lab-pods.ts';
import { netPath } from '../../lab/world/plan.ts';
import type { Attempt } from '../../lib/connect/connect.ts';
import { exec, ExecError, type ExecResult } from '../../lib/exec/exec.ts';
import { randomPolicies } from '../policy/random.ts';
import { worldManifests } from '../policy/world.ts';
import { bulkheadConfig, checkout, useLab } from './lab.ts';

// The same questions are asked of explain, trace, reach and packets: there is one answer. Pods of isolated, connected and flat
// networks, nodes and the outside ask; pods, Services, node ports, host ports, outer addresses, nodes and the outside are asked for.

const lab = useLab('answers', { nodes: 2 });
const RUNS = Number(process.env['RANDOM_RUNS'] ?? 4);
const OUTER = { y: ['198.51.100.77', '2001:db8:77::77'], x: ['198.51.100.78', '2001:db8:77::78'] } as const;
/** With externalTrafficPolicy Local: from outside it depends on the node that they are routed to. */
const LOCAL = { y: ['198.51.100.79', '2001:db8:77::79'], x: ['198.51.100.80', '2001:db8:77::80'] } as const;
const NODE_PORT = { x: 31_080, y: 31_081, z: 31_082 } as const;
const HOST_PORT = { y: 8_181, x: 8_182 } as const;
const HOST_PROCESS = 8_484;

const object = (kind: string, namespace: string, name: string, rest: object, apiVersion = 'v1'): object => ({
  apiVersion,
  kind,
  metadata: { name, namespace, ...(kind === 'Pod' ? { labels: { pod: 'c' } } : {}) },
  ...rest,
});
const podAt = (namespace: string, name: string, node: string, ports: object[], rest: object = {}): object =>
  object('Pod', namespace, name, {
    spec: { nodeSelector: { 'kubernetes.io/hostname': node }, containers: [{ name: 'c', image: 'x', ports }], ...rest },
  });
const service = (namespace: string, name: string, port: object, rest: object): object =>
  object('Service', namespace, name, {
    spec: { ipFamilyPolicy: 'RequireDualStack', selector: { pod: 'b' }, ports: [{ port: 80, ...port }], ...rest },
  });
const router = (namespace: string, other: string): object =>
  object(
    'VirtualNetworkRouter',
    namespace,
    'r',
    {
      spec: {
        type: 'Mesh',
        virtualNetworks: ['default'],
        ports: [{ port: 80 }],
        import: [{ namespace: other, name: 'r' }],
      },
    },
    'bulkhead.dev/v1alpha1',
  );

/** Namespaces x and w are isolated and connected for TCP 80; y and z are on the flat network. */
function world(): object[] {
  const isolated = { ns: 'w', 'bulkhead.dev/isolated': 'true' };
  const ofWorld = worldManifests().map((o) => {
    const meta = o['metadata'] as { name: string; labels?: object };
    if (o['kind'] !== 'Namespace' || meta.name !== 'x') return o;
    return { ...o, metadata: { ...meta, labels: { ...meta.labels, 'bulkhead.dev/isolated': 'true' } } };
  });
  return [
    ...ofWorld,
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'w', labels: isolated } },
    podAt('w', 'a', 'n1', [{ containerPort: 80 }]),
    podAt('w', 'b', 'n2', [{ containerPort: 80 }]),
    router('x', 'w'),
    router('w', 'x'),
    podAt('y', 'h', 'n1', [{ containerPort: 80, hostPort: HOST_PORT.y }]),
    podAt('x', 'h', 'n2', [{ containerPort: 80, hostPort: HOST_PORT.x }]),
    podAt('z', 'host', 'n1', [{ containerPort: HOST_PROCESS }], { hostNetwork: true }),
    service('x', 'np', { nodePort: NODE_PORT.x }, { type: 'NodePort' }),
    service('y', 'np', { nodePort: NODE_PORT.y }, { type: 'NodePort' }),
    service('z', 'np', { nodePort: NODE_PORT.z }, { type: 'NodePort', externalTrafficPolicy: 'Local' }),
    service('y', 'ext', {}, { externalIPs: OUTER.y }),
    service('x', 'ext', {}, { externalIPs: OUTER.x }),
    ...(['x', 'y'] as const).map((ns) =>
      service(ns, 'local', {}, { type: 'NodePort', externalTrafficPolicy: 'Local', externalIPs: LOCAL[ns] }),
    ),
  ];
}

const SENDERS = [
  ...['x', 'y', 'z'].flatMap((ns) => ['a', 'b', 'c'].map((p) => `${ns}/${p}`)),
  'w/a',
  'w/b',
  'y/h',
  'x/h',
  'z/host',
  'node/n1',
  'node/n2',
  'internet',
];
const RECEIVERS = [
  ...['x', 'y', 'z'].flatMap((ns) => ['a', 'b', 'c'].flatMap((p) => [`${ns}/${p}:80`, `${ns}/${p}:81/udp`])),
  ...['x', 'y', 'w'].flatMap((ns) => [`${ns}/a/icmp`, `${ns}/b/icmp`]),
  'w/a:80',
  'w/b:80',
  ...['x', 'y', 'z'].flatMap((ns) => [`svc/${ns}/svc-b`, `svc/${ns}/np`]),
  ...[OUTER, LOCAL].flatMap((o) => Object.values(o)).flatMap(([v4, v6]) => [`${v4}:80`, `[${v6}]:80`]),
  ...['n1', 'n2'].flatMap((n) => [...Object.values(NODE_PORT), 10_250].map((p) => `node/${n}:${p}`)),
  // Elsewhere nothing listens on these.
  `node/n1:${HOST_PORT.y}`,
  `node/n2:${HOST_PORT.x}`,
  'z/host:8484',
  'internet:80',
  'api:443',
];

type Question = {
  readonly from: string;
  readonly to: string;
  readonly source: Source;
  readonly target: Target;
  readonly netns: string;
};

/** Every sender to every receiver, in each family that both have. */
function questionsOf(view: View): Question[] {
  const pods = podNamespaces(lab.name);
  const netnsOf = (source: Source): string => {
    if (source.kind === 'Outside') return netPath(lab.name, 'outside');
    if (source.kind === 'Node') return netPath(lab.name, source.node);
    return source.pod.hostNetwork ? netPath(lab.name, source.pod.node) : (pods.get(source.pod.uid) ?? '');
  };
  return SENDERS.flatMap((from) =>
    RECEIVERS.flatMap((to): Question[] =>
      askAbout(view, from, to, { outside: lab.target.outside }).ways.flatMap((way) =>
        (way.ports ?? []).map((port) => ({
          from,
          to,
          source: way.from,
          target: { address: way.address, ...port },
          netns: netnsOf(way.from),
        })),
      ),
    ),
  ).filter(isRouted);
}

/** No route leads from the lab's outside to cluster IPs and to these addresses, and to itself no packet leaves it. */
const isRouted = ({ source, target, to }: Question): boolean =>
  source.kind !== 'Outside' ||
  (to !== 'internet:80' &&
    !/^10\.96\.|^fd00:10:96:/.test(target.address) &&
    !Object.values(LOCAL)
      .flat()
      .includes(target.address as never));

type Answers = { readonly explain: string; readonly trace: string; readonly reach: string; readonly packets: string };

async function differences(): Promise<string[]> {
  const view = await lab.view();
  const questions = questionsOf(view);
  const measured = await lab.connectMany(
    questions.map(({ netns, target }): Attempt => ({ netns, ...target, timeoutMs: 1_000, identify: false })),
  );
  return questions.flatMap((q, i) => {
    const { decision, verdict } = explain(view, q.source, q.target);
    const pod = q.source.kind === 'Pod' ? q.source.pod : undefined;
    const reach = pod
      ? expectedOf(view, pod, { kind: 'Pod', namespace: '', name: '', ...q.target }).expected
      : decision.verdict;
    const answers: Answers = {
      explain: verdict === 'Accept' ? 'open' : decision.verdict === 'open' ? '?' : decision.verdict,
      trace: traceFrom(view, q.source, q.target).verdict,
      reach,
      packets: measured[i]?.verdict ?? '?',
    };
    const all = new Set(Object.values(answers));
    if (all.size === 1) return [];
    return [
      `${q.from} → ${q.to} (${q.target.address} ${q.target.port}): ${JSON.stringify(answers)} ${decision.why} ${decision.policies.map((p) => `[${p.flow.to.ip}:${p.flow.port} seen ${p.flow.seenAs?.ip ?? '-'} ${p.verdict}]`).join(' ')}`,
    ];
  });
}

beforeAll(async () => {
  await lab.apply(bulkheadConfig({ services: { externalIPs: ['198.51.100.0/24', '2001:db8:77::/64'] } }));
  await lab.apply(
    world()
      .map((o) => stringify(o))
      .join('\n---\n'),
  );
  await lab.kubectl(
    ...['-n', 'x', 'patch', 'virtualnetwork', 'default', '--type=merge'],
    ...['-p', JSON.stringify({ spec: { egress: { mode: 'NAT' } } })],
  );
  // The outside routes pods and outer addresses to nodes, as a data centre may.
  const { state } = await lab.view();
  for (const node of state.nodes.values())
    for (const cidr of [...node.podCIDRs, ...(node.name === 'n1' ? Object.values(OUTER).flat() : [])]) {
      const v6 = cidr.includes(':');
      const via = node.addresses.find((a) => a.includes(':') === v6) ?? '';
      const route = ['ip', ...(v6 ? ['-6'] : []), 'route', 'replace', cidr, 'via', via];
      await exec(['nsenter', `--net=${netPath(lab.name, 'fabric')}`, ...route]);
    }
});

describe('one answer', () => {
  const settled = (ms: number): Promise<string[]> => lab.eventually(differences, (d) => d.length === 0, ms);

  test('without policies', async () => {
    expect(questionsOf(await lab.view()).length).toBeGreaterThan(1_000);
    expect(await settled(20_000)).toEqual([]);
  });

  test('with any policies', async () => {
    await fc.assert(
      fc.asyncProperty(randomPolicies, async (policies) => {
        await lab.kubectl('delete', 'networkpolicy', '--all', '-A');
        await lab.kubectl('delete', 'clusternetworkpolicy', '--all');
        await lab.apply(policies.map((p) => stringify(p)).join('\n---\n'), { wait: false });
        expect(await settled(15_000)).toEqual([]);
      }),
      { numRuns: RUNS, endOnFailure: true },
    );
  }, 900_000);

  test('the command line gives the same answers by its exit codes, also of an address that only agents know', async () => {
    await lab.kubectl('delete', 'networkpolicy', '--all', '-A');
    await lab.kubectl('delete', 'clusternetworkpolicy', '--all');
    const policy = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { namespace: 'y', name: 'closed' },
      spec: { podSelector: { matchLabels: { pod: 'b' } }, policyTypes: ['Ingress'] },
    };
    await lab.apply(stringify(policy), { wait: false });
    await lab.onNode('n1', 'ip', 'addr', 'add', '192.0.2.111/24', 'dev', 'eth0');
    expect(await settled(15_000)).toEqual([]);
    for (const [from, to, code] of [
      ['z/a', 'svc/z/svc-b', EXIT.yes],
      // Behind the Service is a pod that admits nobody.
      ['z/a', 'svc/y/svc-b', EXIT.no],
      ['internet', 'svc/y/np', EXIT.no],
      ['internet', 'svc/x/np', EXIT.yes],
      ['z/a', '192.0.2.111:10250', EXIT.yes],
      ['x/a', '192.0.2.111:10250', EXIT.no],
      ['x/a', 'nobody/x', EXIT.usage],
    ] as const)
      for (const command of ['explain', 'trace']) {
        const { exitCode, stdout } = await bulkhead(command, '--name', lab.name, from, to, '-o', 'json');
        expect([command, from, to, exitCode]).toEqual([command, from, to, code]);
        if (from === 'x/a' && code === EXIT.no) expect(stdout).toContain('does not reach nodes');
      }
  });
});

async function bulkhead(...args: string[]): Promise<Pick<ExecResult, 'exitCode' | 'stdout'>> {
  try {
    return await exec([process.execPath, join(checkout, 'dist/bulkhead.mjs'), ...args], { timeoutMs: 30_000 });
  } catch (error) {
    if (error instanceof ExecError) return error.result;
    throw error;
  }
}
