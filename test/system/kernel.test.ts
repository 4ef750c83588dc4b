import { describe } from 'vitest';
import { netlinkConformance } from '../../lib/netlink/conformance.ts';
import { openNetlink } from '../../lib/netlink/netlink.ts';
import { nftConformance } from '../../lib/nft/conformance.ts';
import { openNft } from '../../lib/nft/nft.ts';
import { testNamespaces } from './namespaces.ts';

// The same suites that the fakes pass, on this machine's kernel.

const namespace = testNamespaces('kernel');

describe('netlink: the kernel', () => {
  netlinkConformance(() => {
    const otherPath = namespace('other');
    return { home: openNetlink(namespace('home')), other: openNetlink(otherPath), otherPath };
  });
});

describe('nft: the kernel', () => nftConformance(() => openNft(namespace('nft'))));
