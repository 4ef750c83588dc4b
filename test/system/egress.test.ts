import { describe, expect, test } from 'vitest';
import { startAgent } from '../../lab/world/lab.ts';
import { bulkheadConfig, pod, shop, useLab, virtualNetwork } from './lab.ts';
import { useOutsideEye } from './outside-eye.ts';

const lab = useLab('egress', { admission: false, nodes: 3 });
const FIXED = { 4: '192.0.2.200', 6: '2001:db8:2::c8' } as const;
const OUTSIDE = { 4: '203.0.113.10', 6: '2001:db8::10' } as const;
const families = [4, 6] as const;

const { port: PORT, seenAs } = useOutsideEye(lab);
const holder = async (): Promise<string> =>
  (await lab.kubectl('get', 'vn', '-n', 'out', 'default', '-o', 'jsonpath={.status.egressNode}')).trim();
const has = async (node: string): Promise<boolean> => (await lab.onNode(node, 'ip', '-br', 'addr')).includes(FIXED[4]);
const patch = (egress: object): Promise<string> =>
  lab.kubectl('patch', 'vn', 'default', '-n', 'out', '--type=merge', '-p', JSON.stringify({ spec: { egress } }));
const PODS = ['out/p1', 'out/p2', 'out/p3'] as const;

describe('a fixed egress address', () => {
  test('outsiders see it from every node, and nothing else of the network changes', async () => {
    await lab.apply(
      [
        bulkheadConfig({ egress: { addressPools: [{ prefixes: ['192.0.2.192/27', '2001:db8:2::c0/123'] }] } }),
        shop('out'),
        pod('out', 'p3', { node: 'n3' }),
        shop('other'),
        shop('flat', { isolated: false }),
      ].join('\n---\n'),
    );
    await patch({ mode: 'NAT' });
    await lab.kubectl(
      'patch',
      'vn',
      'default',
      '-n',
      'other',
      '--type=merge',
      '-p',
      '{"spec":{"egress":{"mode":"NAT"}}}',
    );
    expect(
      await lab.eventually(
        () => seenAs('out/p1', 4),
        (a) => a !== 'none',
      ),
    ).toBe('192.0.2.11');
    await patch({ mode: 'NAT', addresses: [FIXED[4], FIXED[6]] });
    for (const family of families)
      for (const name of PODS)
        expect([
          name,
          await lab.eventually(
            () => seenAs(name, family),
            (a) => a === FIXED[family],
          ),
        ]).toEqual([name, FIXED[family]]);
    expect(await seenAs('other/p2', 4)).toBe('192.0.2.12');
    const on = await holder();
    expect(await Promise.all(['n1', 'n2', 'n3'].map(async (n) => [n, await has(n)]))).toEqual(
      ['n1', 'n2', 'n3'].map((n) => [n, n === on]),
    );
    // Pods, Services, DNS, the API, nodes, other networks: all as ever.
    expect(await lab.differences()).toEqual([]);
  });

  test('the allow list holds where the network leaves by another node', async () => {
    await patch({ allow: [{ cidr: `${OUTSIDE[4]}/32`, ports: [{ port: PORT }] }] });
    for (const name of PODS) {
      expect(
        await lab.eventually(
          () => lab.connect(name, OUTSIDE[4], 80),
          (o) => o === 'rejected',
        ),
      ).toBe('rejected');
      expect(await seenAs(name, 4)).toBe(FIXED[4]);
      expect(await seenAs(name, 6)).toBe('none');
    }
    expect(await lab.differences()).toEqual([]);
    await patch({ allow: null });
    for (const name of PODS)
      expect(
        await lab.eventually(
          () => seenAs(name, 6),
          (a) => a === FIXED[6],
        ),
      ).toBe(FIXED[6]);
  });

  test('when its node fails another takes it over, no two have it at once, and no other address is ever seen', async () => {
    const first = await holder();
    const elsewhere = PODS.find((p) => p !== `out/p${first.slice(1)}`) ?? PODS[0];
    const seen = new Set<string>();
    let doubled = 0;
    let stop = false;
    const watching = (async () => {
      while (!stop) {
        seen.add(await seenAs(elsewhere, 4));
        if ((await Promise.all(['n1', 'n2', 'n3'].map(has))).filter(Boolean).length > 1) doubled++;
      }
    })();
    try {
      await failOver(first, elsewhere);
    } finally {
      stop = true;
      await watching;
    }
    expect(doubled).toBe(0);
    expect([...seen].filter((a) => a !== FIXED[4] && a !== 'none')).toEqual([]);
    expect(await lab.differences()).toEqual([]);
  });

  async function failOver(first: string, elsewhere: string): Promise<void> {
    await lab.kill(`agent-${first}`);
    const began = performance.now();
    const next = await lab.eventually(holder, (h) => h !== first, 30_000);
    expect(next).not.toBe(first);
    expect(
      await lab.eventually(
        () => seenAs(elsewhere, 4),
        (a) => a === FIXED[4],
        30_000,
      ),
    ).toBe(FIXED[4]);
    console.log(`egress address moved in ${((performance.now() - began) / 1000).toFixed(1)} s`);
    for (const family of families)
      for (const name of PODS.filter((p) => p !== `out/p${first.slice(1)}`))
        expect(
          await lab.eventually(
            () => seenAs(name, family),
            (a) => a === FIXED[family],
          ),
        ).toBe(FIXED[family]);
    startAgent(lab.spec, first);
    for (const name of PODS)
      expect(
        await lab.eventually(
          () => seenAs(name, 4),
          (a) => a === FIXED[4],
          30_000,
        ),
      ).toBe(FIXED[4]);
    expect(await holder()).toBe(next);
  }

  test('only chosen nodes; none of them: nothing leaves; an address of somebody else is refused', async () => {
    const on = await holder();
    const chosen = ['n1', 'n2', 'n3'].find((n) => n !== on) ?? '';
    await lab.kubectl('label', 'node', chosen, 'egress=yes');
    await patch({ nodeSelector: { matchLabels: { egress: 'yes' } } });
    expect(await lab.eventually(holder, (h) => h === chosen)).toBe(chosen);
    for (const name of PODS)
      expect(
        await lab.eventually(
          () => seenAs(name, 4),
          (a) => a === FIXED[4],
        ),
      ).toBe(FIXED[4]);
    await lab.kubectl('label', 'node', chosen, 'egress-');
    for (const name of PODS)
      expect(
        await lab.eventually(
          () => seenAs(name, 4),
          (a) => a === 'none',
        ),
      ).toBe('none');
    expect(await lab.differences()).toEqual([]);
    await lab.apply(virtualNetwork('other', 'thief', { egress: { mode: 'NAT', addresses: [FIXED[4]] } }), {
      wait: false,
    });
    expect(
      await lab.eventually(
        () => lab.kubectl('get', 'vn', '-n', 'other', 'thief', '-o', 'jsonpath={.status.conditions[0].message}'),
        (m) => m !== '',
      ),
    ).toMatch(
      /spec\.egress\.addresses\[0\]: 192\.0\.2\.200 of network other\/thief overlaps 192\.0\.2\.200, which belongs to network out\/default/,
    );
    expect(await Promise.all(['n1', 'n2', 'n3'].map(has))).toEqual([false, false, false]);
    await lab.kubectl('delete', 'vn', '-n', 'other', 'thief');
    // A family without a fixed address leaves on each node by itself.
    await patch({ addresses: [FIXED[4]], nodeSelector: null });
    for (const name of PODS) {
      expect(
        await lab.eventually(
          () => seenAs(name, 4),
          (a) => a === FIXED[4],
        ),
      ).toBe(FIXED[4]);
      expect(await seenAs(name, 6)).toBe(`2001:db8:2::1${name.at(-1)}`);
    }
    await patch({ addresses: null });
    expect(
      await lab.eventually(
        () => seenAs('out/p2', 4),
        (a) => a === '192.0.2.12',
      ),
    ).toBe('192.0.2.12');
    expect(await Promise.all(['n1', 'n2', 'n3'].map(has))).toEqual([false, false, false]);
  });
});
