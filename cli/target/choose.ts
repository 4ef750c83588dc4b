import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import type { Command } from 'commander';
import { defaultLabName } from './lab-name.ts';
import { labNames } from './lab-status.ts';
import { UsageError } from '../terminal/output.ts';
import { kubectlTarget } from './kubectl-target.ts';
import { labTarget } from './lab-target.ts';
import type { ClusterTarget } from './target.ts';

export type TargetFlags = {
  readonly name?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly identify?: boolean;
};

/** Adds the options that say which cluster is meant. */
export const targetOptions = (c: Command): Command =>
  c
    .option('--name <lab>', 'use this lab of this machine')
    .option('--kubeconfig <file>', 'as for kubectl')
    .option('--context <name>', 'as for kubectl');

/**
 * The cluster that is meant: the lab that is named; else what a flag or KUBECONFIG leads to; else the default lab while it is
 * up; else kubectl's own default.
 */
export function chooseTarget({ name, kubeconfig, context, identify }: TargetFlags): ClusterTarget {
  if (name !== undefined && (kubeconfig !== undefined || context !== undefined))
    throw new UsageError('--name is for labs, --kubeconfig and --context for other clusters: give one of them');
  if (name !== undefined) return labTarget(name);
  const flags = { ...(kubeconfig === undefined ? {} : { kubeconfig }), ...(context === undefined ? {} : { context }) };
  const how = { identify: identify ?? false };
  if (kubeconfig !== undefined || context !== undefined || process.env['KUBECONFIG']) return kubectlTarget(flags, how);
  if (labNames().includes(defaultLabName())) return labTarget(defaultLabName());
  const standard = process.env['KUBERNETES_SERVICE_HOST'] !== undefined || existsSync(`${homedir()}/.kube/config`);
  if (standard) return kubectlTarget(flags, how);
  throw new NoClusterError('no cluster: bring up a lab (bulkhead lab up), or set KUBECONFIG');
}

/** Nothing says which cluster is meant, and none is where one would be. */
class NoClusterError extends Error {
  override readonly name = 'NoClusterError';
  readonly code = 'NoCluster';
}
