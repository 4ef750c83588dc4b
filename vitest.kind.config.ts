import { defineConfig } from 'vitest/config';

// Tests that need a cluster: hack/kind-test.sh makes one and says by KUBECONFIG, KIND_CLUSTER and KIND_FAMILY which.
export default defineConfig({
  test: {
    pool: 'forks',
    include: ['test/kind/*.test.ts'],
    testTimeout: 240_000,
    hookTimeout: 240_000,
    fileParallelism: false,
    maxWorkers: 1,
  },
});
