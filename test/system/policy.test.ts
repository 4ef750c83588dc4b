import { beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { podNamespaces } from '../../cli/target/lab-pods.ts';
import type { View } from '../../core/view/view.ts';
import type { Attempt } from '../../lib/connect/connect.ts';
import { CASES, type Case } from '../policy/cases.ts';
import { probeOf } from '../policy/probe.ts';
import { worldManifests } from '../policy/world.ts';
import { type TestLab, useLab, virtualNetwork } from './lab.ts';

// The cases of core/policy/cases.test.ts on packets: on the flat network, and on a network of its own. Both families, same and other node.

const OUTSIDE = { 4: '203.0.113.10', 6: '2001:db8::10' } as const;
const FAMILIES = [4, 6] as const;

describe.each([
  ['the flat network', 'polflat', undefined],
  ['an isolated network', 'polnet', 'shared/blue'],
] as const)('policies on %s', (_title, name, network) => {
  const lab = useLab(name, { admission: false, nodes: 2 });
  let view: View;

  beforeAll(async () => {
    const shared = [
      JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shared' } }),
      virtualNetwork('shared', 'blue', { egress: { mode: 'NAT' }, sharedWith: {} }),
    ];
    await lab.apply([...(network ? shared : []), ...worldManifests(network).map((o) => stringify(o))].join('\n---\n'));
    view = await lab.view();
  });

  test.each(CASES.filter((c) => !c.refused).map((c) => [c.line, c.title, c] as const))(
    'line %s: %s',
    async (_line, _name, c) => {
      await replacePolicies(lab, c);
      const probes = [...c.open.map((p) => [p, true] as const), ...c.shut.map((p) => [p, false] as const)].flatMap(
        ([text, open]) =>
          FAMILIES.map((family) => ({ text: `${text} IPv${family}`, open, ...attemptOf(lab, view, text, family) })),
      );
      const wanted = Object.fromEntries(probes.map((p) => [p.text, p.open ? 'open' : 'closed']));
      const measure = async (): Promise<Record<string, string>> => {
        const outcomes = await lab.connectMany(probes);
        return Object.fromEntries(probes.map((p, i) => [p.text, outcomes[i]?.verdict ?? '?']));
      };
      await lab.eventually(measure, (got) => Object.entries(wanted).every(([k, v]) => got[k] === v), 10_000);
      expect(await measure()).toEqual(wanted); // and it stays so
    },
  );
});

async function replacePolicies(lab: TestLab, { policies }: Case): Promise<void> {
  await lab.kubectl('delete', 'networkpolicy', '--all', '--all-namespaces', '--wait=false');
  await lab.kubectl('delete', 'clusternetworkpolicy', '--all', '--wait=false');
  await lab.apply(policies.join('\n---\n'), { wait: false });
}

function attemptOf(lab: TestLab, view: View, text: string, family: 4 | 6): Attempt {
  const { from, to, port, protocol } = probeOf(text);
  const source = view.state.pods.get(from);
  const target = view.state.pods.get(to);
  const service = view.state.services.get(to);
  const address =
    to === 'out'
      ? OUTSIDE[family]
      : (target?.ips ?? service?.clusterIPs ?? []).find((ip) => ip.includes(':') === (family === 6));
  const netns = podNamespaces(lab.name).get(source?.uid ?? '');
  if (address === undefined || netns === undefined) throw new Error(`${text}: no such pod or Service`);
  return { netns, address, port, protocol, timeoutMs: 1_000, identify: false };
}
