import { configDefaults, defineConfig } from 'vitest/config';

// Forks: a test that enters another network namespace must own its thread. Two projects: `unit` needs nothing, `system` needs root.
/** Build kustomizations with the kubectl of the machine, so they are no unit tests: `make unit` needs npm alone. */
const WITH_KUBECTL = ['lib/manifests/read.test.ts', 'cli/policy/manifests.test.ts', 'test/manifests.test.ts'];

export default defineConfig({
  test: {
    pool: 'forks',
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['{api,lib,core,cni-plugin,controller,dataplane,lab,cli,hack}/**/*.test.ts', 'test/*.test.ts'],
          exclude: [...configDefaults.exclude, ...WITH_KUBECTL],
          testTimeout: 30_000,
        },
      },
      // One file at a time: each brings up whole labs, and two cores carry one well.
      {
        extends: true,
        test: {
          name: 'system',
          include: ['test/{system,attacks}/**/*.test.ts', ...WITH_KUBECTL],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          fileParallelism: false,
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
