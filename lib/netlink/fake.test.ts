import { describe } from 'vitest';
import { netlinkConformance } from './conformance.ts';
import { FakeKernel } from './fake.ts';

describe('netlink: the fake', () => {
  netlinkConformance(() => {
    const kernel = new FakeKernel();
    kernel.addNamespace('/home');
    kernel.addNamespace('/other');
    return { home: kernel.open('/home'), other: kernel.open('/other'), otherPath: '/other' };
  });
});
