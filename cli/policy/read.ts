import { Command, Option } from 'commander';
import { readKindOf } from '../../core/read/kinds.ts';
import { format, print, printData, printDocuments, tableText, UsageError } from '../terminal/output.ts';
import {
  type Input,
  type InputFlags,
  isOffline,
  kustomizeOption,
  loadInput,
  manifestsOption,
  namespaceOption,
} from './load.ts';

type Flags = InputFlags & { output: string };

/** `bulkhead policy read`: what the other commands take manifests for. */
export function readCommand(): Command {
  return new Command('read')
    .description('show what manifests are taken for: which objects count, and which pods stand for the workloads')
    .addOption(manifestsOption())
    .addOption(kustomizeOption())
    .addOption(namespaceOption())
    .addOption(new Option('-o, --output <format>', 'text, yaml or json').default('text'))
    .action(async ({ output, ...flags }: Flags) => {
      const shape = format(output);
      if (!isOffline(flags)) throw new UsageError('policy read: name manifests with -f or -k');
      const input = await loadInput(flags);
      if (shape === 'text') print(tableText(rowsOf(input)));
      else if (shape === 'yaml') printDocuments(input.taken);
      else printData(shape, { apiVersion: 'v1', kind: 'List', items: input.taken });
    });
}

function rowsOf({ taken }: Input): string[][] {
  const rows = taken.map((raw) => {
    const { namespace, name, ownerReferences } = raw['metadata'] as {
      readonly namespace?: string;
      readonly name: string;
      readonly ownerReferences?: readonly { readonly kind: string; readonly name: string }[];
    };
    const [owner] = ownerReferences ?? [];
    return [String(readKindOf(raw)), namespace ?? '', name, owner ? `${owner.kind} ${owner.name}` : ''];
  });
  return [['KIND', 'NAMESPACE', 'NAME', 'OF'], ...rows];
}
