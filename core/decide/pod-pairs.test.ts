import fc from 'fast-check';
import { expect, test } from 'vitest';
import { randomPolicies } from '../../test/policy/random.ts';
import { NAMESPACES, runningPods } from '../../test/policy/world.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { keyOf } from '../cluster/state.ts';
import { stateOfManifests } from '../view/from-manifests.ts';
import { viewOf } from '../view/view.ts';
import { decide } from './decide.ts';
import { PodPairs } from './pod-pairs.ts';

// What PodPairs looks up is what decide says, verdict and words, of every pair of pods, in worlds of any policies, with namespaces
// that are isolated, pods that open themselves, pods of the host's network and pods that have ended or share an address.

type Raw = Record<string, unknown>;
const PORTS = [
  ...[80, 81, 443].flatMap((port) => (['TCP', 'UDP', 'SCTP'] as const).map((protocol) => ({ port, protocol }))),
  { port: 0, protocol: 'ICMP' as const },
];
const kinds = fc.constantFrom('plain', 'plain', 'plain', 'host', 'ended', 'opens', 'takes an address');

function worldOf(policies: readonly Raw[], isolated: readonly string[], changes: readonly string[]): Raw[] {
  const pods = runningPods().map((raw, i): Raw => {
    const { metadata, spec, status } = raw as { metadata: Raw; spec: Raw; status: Raw };
    const open = { 'bulkhead.dev/open-ports': '80', 'bulkhead.dev/open-to': 'x' };
    return {
      kind: 'Pod',
      apiVersion: 'v1',
      metadata: { ...metadata, ...(changes[i] === 'opens' ? { annotations: open } : {}) },
      spec: { ...spec, ...(changes[i] === 'host' ? { hostNetwork: true } : {}) },
      status: {
        ...status,
        ...(changes[i] === 'ended' ? { phase: 'Succeeded' } : {}),
        ...(changes[i] === 'takes an address' ? { podIPs: [{ ip: '10.244.1.16' }] } : {}),
      },
    };
  });
  const namespaces = NAMESPACES.map((name) => ({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels: { ns: name, ...(isolated.includes(name) ? { 'bulkhead.dev/isolated': 'true' } : {}) } },
  }));
  return [...namespaces, ...pods, ...policies];
}

test('pairs of pods are answered as decide answers them', () => {
  let [looked, asked] = [0, 0];
  fc.assert(
    fc.property(
      randomPolicies,
      fc.subarray([...NAMESPACES]),
      fc.array(kinds, { minLength: 9, maxLength: 9 }),
      (policies, isolated, changes) => {
        const view = viewOf(stateOfManifests(worldOf(policies, isolated, changes)));
        const pairs = new PodPairs(view);
        const all = [...view.state.pods.values()];
        for (const from of all)
          for (const to of all)
            for (const address of to.ips) {
              if (!from.ips.some((ip) => familyOf(ip) === familyOf(address))) continue;
              for (const port of PORTS) {
                const said = pairs.ask(from, { pod: to, address }, port);
                asked++;
                if (said === undefined) continue;
                looked++;
                const { verdict, why } = decide(view, from, { address, ...port });
                const opened = said === 'open' ? pairs.opened(from, { pod: to, address }, port) : said;
                const pair = `${keyOf(from)} ${keyOf(to)} ${address} ${port.port}/${port.protocol}`;
                expect([pair, opened?.verdict, opened?.why]).toEqual([pair, verdict, why]);
                expect(said === 'open').toBe(verdict === 'open');
              }
            }
      },
    ),
    { numRuns: 60 },
  );
  // Many pairs are looked up.
  expect(looked / asked).toBeGreaterThan(0.2);
}, 120_000);
