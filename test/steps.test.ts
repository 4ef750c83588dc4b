import { describe, expect, test } from 'vitest';
import { emptyNodeConfig, type PortSet, type ProfileSide } from '../api/nodeconfig.ts';
import { PolicyTable } from '../dataplane/desired/policy-table.ts';
import { RuleNumbers } from '../dataplane/desired/rule-numbers.ts';
import { Wishes } from '../dataplane/desired/wishes.ts';
import { Merged } from '../dataplane/kernel/merged.ts';
import { NamespaceWriter } from '../dataplane/kernel/namespace-writer.ts';
import { FakeKernel } from '../lib/netlink/fake.ts';
import { FakeNft } from '../lib/nft/fake.ts';
import { DeltaTracker } from '../lib/reconcile/delta-tracker.ts';
import { countWork } from './work.ts';

// An agent has one thread for every ADD: between two steps of what tenants write, others have their turn, however much it is. Counted, not timed.

/** As in work.test.ts: four times as much is at most some more than four times the work. */
const MOST = 6;
const each = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
const cidr = (i: number): string => `20.${i >> 8}.${i & 255}.0/26`;
const manyPorts = (n: number): PortSet => each(n, (i) => ({ protocol: 'TCP', first: 1 + 2 * i, last: 1 + 2 * i }));

const profileSide = (n: number): ProfileSide => ({
  isolatedBy: ['NetworkPolicy a/p'],
  rules: each(n, (i) => ({
    tier: 'NetworkPolicy' as const,
    policy: 'NetworkPolicy a/p',
    rule: `ingress[${i}]`,
    action: 'Accept' as const,
    matches: [{ peers: ['g'], ports: [{ protocol: 'TCP' as const, first: 1 + 3 * i, last: 2 + 3 * i }] }],
  })),
});

describe('what tenants write is made in steps', () => {
  const table = (n: number, onElement: () => void): PolicyTable => {
    const config = emptyNodeConfig();
    const rules = new RuleNumbers();
    config.group.set('g', { addresses: each(n, (i) => `10.${i >> 8}.${i & 255}.1`), prefixes: each(n, cidr) });
    config.group.set('h', { addresses: [], prefixes: each(n, (i) => `20.${i >> 8}.${i & 255}.128/25`) });
    const [side, silent] = [profileSide(n), { isolatedBy: [], rules: [] }];
    config.profile.set('p', { egress: silent, ingress: side });
    config.profile.set('q', {
      egress: silent,
      ingress: { ...side, rules: side.rules.map((r) => ({ ...r, matches: [{ peers: ['h'], ports: manyPorts(2) }] })) },
    });
    return new PolicyTable({
      register: 'meta mark',
      config,
      rules: { of: (o) => rules.of(o), log: false },
      set: onElement,
      setElement: onElement,
    });
  };

  test('an update of policies is as much work as there is to write', async () => {
    const run = (n: number) => () => {
      const made = table(n, () => undefined);
      made.update(new Set(['p', 'q']));
      made.update(new Set());
    };
    run(32)();
    expect((await countWork(run(1_024))) / (await countWork(run(256)))).toBeLessThan(MOST);
  });

  test.each([300, 3_000])(
    'with %i rules, prefixes and pods, no step of an update has more than some hundred of them',
    (n) => {
      let count = 0;
      const made = table(n, () => void count++);
      for (const inUse of [new Set(['p']), new Set(['p', 'q']), new Set(['q']), new Set<string>()]) {
        let all = 0;
        for (const _ of made.steps(inUse)) {
          expect(count).toBeLessThanOrEqual(260);
          all += count;
          count = 0;
        }
        expect(all).toBeGreaterThan(n);
        count = 0;
      }
    },
  );

  test('Services and openings of a network: each port and each pod is a step', () => {
    const planned: string[] = [];
    const wishes = new Wishes({ setFragment: (owner) => planned.push(owner) });
    const wish = { deps: [], plan: () => ({}) };
    const owners = [...each(500, (i) => `service a/s TCP ${i}`), ...each(500, (i) => `opening a/p${i}`)];
    wishes.replace(new Map(['base', ...owners].map((o) => [o, wish])));
    expect(planned).toEqual(['base']);
    let before = planned.length;
    for (const now of [new Map(owners.map((o) => [o, wish])), new Map<string, typeof wish>()]) {
      for (const _ of wishes.replaceTenants(now)) {
        expect(planned.length - before).toBe(1);
        before = planned.length;
      }
    }
    expect(planned.slice(1)).toEqual([...owners, ...owners]);
  });

  test('a table with thousands of chains that go: some hundred at once, what refers to others first', () => {
    const nft = new FakeNft();
    const kernel = new FakeKernel();
    kernel.addNamespace('/root');
    const netlink = kernel.open('/root');
    const writer = new NamespaceWriter('root', 'inet t', { netlink, root: netlink, nft, netns: undefined }, () => true);
    const chain = (name: string, ...rules: string[]) => ({ kind: 'chain', name, rules }) as const;
    writer.setNft(
      'all',
      each(1_000, (i) => chain(`c${i}`, ...(i === 0 ? [] : [`goto c${i - 1}`]))),
    );
    writer.apply('all');
    writer.setNft('all', undefined);
    let left = 1_000;
    for (let more = true; more; ) {
      more = writer.apply('all');
      const now = nft
        .dump('inet t')
        .split('\n')
        .filter((l) => l.startsWith('chain')).length;
      expect(left - now).toBeLessThanOrEqual(256);
      left = now;
    }
    expect(left).toBe(0);
  });

  test('an element that thousands want, as the backend of thousands of ports, is no more work for each of them', async () => {
    const run = (n: number) => () => {
      const merged = new Merged(new DeltaTracker<number>((a, b) => a === b));
      for (let i = 0; i < n; i++) merged.set(`service a/s TCP ${i}`, new Map([['backend', 1]]));
      for (let i = 0; i < n; i++) merged.set(`service a/s TCP ${i}`, new Map());
    };
    run(32)();
    expect((await countWork(run(1_024))) / (await countWork(run(256)))).toBeLessThan(MOST);
    const tracker = new DeltaTracker<number>((a, b) => a === b);
    const merged = new Merged(tracker);
    for (const [i, owner] of ['a', 'b', 'c'].entries()) merged.set(owner, new Map([['k', i + 1]]));
    const left = ['c', 'a', 'b'].map((owner) => {
      merged.set(owner, new Map());
      return tracker.desired.get('k');
    });
    expect(left).toEqual([2, 2, undefined]);
  });
});
