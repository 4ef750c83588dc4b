import { Command, Option } from 'commander';
import { translateAdminNetworkPolicy } from '../../core/read/admin-network-policy.ts';
import { readKindOf } from '../../core/read/kinds.ts';
import type { Raw } from '../../core/read/objects.ts';
import { ManifestError } from '../../lib/manifests/error.ts';
import { gatherManifests } from '../../lib/manifests/read.ts';
import { format, printData, printDocuments, UsageError, warn } from '../terminal/output.ts';
import { kustomizeOption, manifestsOption } from './load.ts';

type Flags = { output: string; filename?: string[]; kustomize?: string[] };

/** `bulkhead policy convert`: AdminNetworkPolicies as ClusterNetworkPolicies, to be applied. */
export function convertCommand(): Command {
  return new Command('convert')
    .description('turn AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1) into ClusterNetworkPolicy')
    .addOption(manifestsOption())
    .addOption(kustomizeOption())
    .addOption(new Option('-o, --output <format>', 'yaml or json').default('yaml'))
    .addHelpText(
      'after',
      `
What cannot be said in the same way is told on standard error. Of a cluster:
  kubectl get adminnetworkpolicies,baselineadminnetworkpolicies -o yaml | kubectl bulkhead policy convert -f -`,
    )
    .action(async ({ output, filename = [], kustomize = [] }: Flags) => {
      const shape = format(output);
      if (shape === 'text') throw new UsageError('-o text: write yaml or json');
      if (filename.length + kustomize.length === 0)
        throw new UsageError('policy convert: name manifests with -f or -k');
      const { objects } = await gatherManifests(filename, { kustomize });
      const policies: Raw[] = [];
      const problems: string[] = [];
      let found = 0;
      for (const { object, at } of objects) {
        const kind = readKindOf(object);
        if (kind !== 'AdminNetworkPolicy' && kind !== 'BaselineAdminNetworkPolicy') continue;
        found++;
        const translation = translateAdminNetworkPolicy(object);
        policies.push(...translation.policies);
        problems.push(...translation.problems.map((p) => `${at}: ${p}`));
        for (const note of translation.notes) warn(`note: ${at}: ${note}`);
      }
      if (problems.length > 0) throw new ManifestError(problems);
      if (found === 0)
        throw new ManifestError(['there is no AdminNetworkPolicy or BaselineAdminNetworkPolicy (v1alpha1)']);
      if (shape === 'yaml') printDocuments(policies);
      else printData(shape, { apiVersion: 'v1', kind: 'List', items: policies });
    });
}
