import { Command } from 'commander';
import { UsageError } from '../terminal/output.ts';
import type { ClusterTarget } from './target.ts';

/** What stands for the lab in the kubectl plugin, which is one file and runs on systems that have no lab. */

const REMEDY = 'a lab needs a checkout of Bulkhead, Linux and root: run make lab there';

export const labNames = (): string[] => [];

export function labTarget(name: string): ClusterTarget {
  throw new UsageError(`there is no lab ${name} here: ${REMEDY}`);
}

export const labCommand = (): Command =>
  new Command('lab')
    .description('A cluster on one machine. Not part of the plugin.')
    .argument('[words...]')
    .allowUnknownOption()
    .action(() => {
      throw new UsageError(REMEDY);
    });

export const nodeProbeCommand = (): Command => new Command('node-probe');
