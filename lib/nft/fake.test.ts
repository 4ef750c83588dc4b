import { describe } from 'vitest';
import { nftConformance } from './conformance.ts';
import { FakeNft } from './fake.ts';

describe('nft: the fake', () => nftConformance(() => new FakeNft()));
