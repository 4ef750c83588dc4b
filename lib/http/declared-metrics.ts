import type { Registry } from 'prom-client';

/** A metric as it was declared. */
export type DeclaredMetric = {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly labelNames: readonly string[];
};

/** What a registry has of our own metrics: those of Node.js, which every program has, are left out. */
export const declaredMetrics = (registry: Registry): DeclaredMetric[] =>
  registry
    .getMetricsAsArray()
    .map((m) => m as unknown as DeclaredMetric)
    .filter(({ name }) => name.startsWith('bulkhead_'))
    .map(({ name, help, type, labelNames }) => ({ name, help, type, labelNames: [...labelNames] }));
