import { ControllerMetrics } from '../../controller/metrics.ts';
import { AgentMetrics } from '../../dataplane/metrics.ts';
import type { DeclaredMetric } from '../../lib/http/declared-metrics.ts';
import { cell } from './table.ts';

/** docs/reference/metrics.md: every metric, from where it is declared. */
export function metricsReference(): string {
  const unused = (): never => {
    throw new Error('nothing is scraped here');
  };
  return [
    '# Metrics',
    '<!-- Generated from controller/metrics.ts and dataplane/metrics.ts by hack/generate.ts. Do not edit. -->',
    'In the text form of Prometheus, by TLS, for callers with the ClusterRole `bulkhead-metrics-reader`. Beside these each\nprogram has the default metrics of Node.js (`process_*`, `nodejs_*`). What to watch: [operations](operations.md).',
    '## Agent, port 9444',
    table(new AgentMetrics(unused).declared),
    '## Controller, port 9443',
    table(new ControllerMetrics(unused).declared),
  ]
    .join('\n\n')
    .concat('\n');
}

const table = (metrics: readonly DeclaredMetric[]): string =>
  [
    '| metric | type | labels | meaning |',
    '|---|---|---|---|',
    ...metrics.map(
      ({ name, type, labelNames, help }) =>
        `| \`${name}\` | ${type} | ${labelNames.map((l) => `\`${l}\``).join(', ')} | ${cell(help)} |`,
    ),
  ].join('\n');
