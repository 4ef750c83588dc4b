import { describe, expect, test } from 'vitest';
import { connectionShares, planInstanceShares, planRootShares } from './shares.ts';

describe('shares of connection tracking', () => {
  test.each([
    [262_144, undefined, { pod: 32_768, network: 65_536, root: 196_608 }],
    [16_384, undefined, { pod: 4_096, network: 8_192, root: 12_288 }],
    [262_144, 2_000, { pod: 2_000, network: 65_536, root: 196_608 }],
    [262_144, 200_000, { pod: 200_000, network: 400_000, root: 196_608 }],
    [262_144, 0, undefined],
  ])('of a table of %i, %s for a pod', (most, pod, expected) => expect(connectionShares(most, pod)).toEqual(expected));

  test('without shares the chains are there, and ask nothing', () => {
    for (const { nft = [] } of [planInstanceShares(undefined), planRootShares(undefined, [], [])])
      expect(nft.flatMap((o) => (o.kind === 'chain' && o.name.startsWith('share') ? o.rules : []))).toEqual([]);
  });
});
