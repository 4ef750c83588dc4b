import type { LabFamily } from '../../lab/world/plan.ts';
import { labUp } from '../../lab/world/lab.ts';
import { progress, UsageError } from '../terminal/output.ts';
import { checkout } from './checkout.ts';

export type UpFlags = {
  readonly name: string;
  readonly nodes: string;
  readonly ipFamily: string;
  readonly file: readonly string[];
  readonly withoutAdmission?: boolean;
};

/** Makes a lab from flags, with progress. */
export async function up(flags: UpFlags): Promise<void> {
  const nodes = Number(flags.nodes);
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > 50)
    throw new UsageError(`--nodes ${flags.nodes}: a number from 1 to 50`);
  if (!['ipv4', 'ipv6', 'dual'].includes(flags.ipFamily))
    throw new UsageError(`--ip-family ${flags.ipFamily}: ipv4, ipv6 or dual`);
  const started = performance.now();
  await labUp({
    name: flags.name,
    nodes,
    family: flags.ipFamily as LabFamily,
    manifests: flags.file,
    checkout,
    progress,
    onWarning: (text) => process.stderr.write(`warning: ${text}\n`),
    ...(flags.withoutAdmission ? { admission: false } : {}),
  });
  progress('');
  process.stderr.write(
    `lab ${flags.name} is up: ${nodes} nodes, ${((performance.now() - started) / 1000).toFixed(1)} s\n`,
  );
}
