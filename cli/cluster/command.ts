import { Command, Option } from 'commander';
import { EXIT } from '../terminal/exit-codes.ts';
import { format, paint, print, printData, progress, tableText } from '../terminal/output.ts';
import { chooseTarget, type TargetFlags, targetOptions } from '../target/choose.ts';
import { describe, measureReach, reachTable } from './reach.ts';
import { clusterStatus } from './status.ts';
import type { ClusterTarget } from '../target/target.ts';

const outputOption = (): Option => new Option('-o, --output <format>', 'text, json or yaml').default('text');
type Shown = TargetFlags & { output: string };

/** `bulkhead reach`. */
export function reachCommand(exit: (code: number) => void): Command {
  return targetOptions(new Command('reach'))
    .description('connect every pod to everything, and compare with what the objects say')
    .option('--identify', 'also check that the right pod answers (the stand-ins of the examples say who they are)')
    .option('-n, --namespace <names>', 'only connections from pods of these namespaces, comma-separated')
    .addOption(outputOption())
    .action(async ({ output, namespace, ...flags }: Shown & { namespace?: string }) => {
      await using target = chooseTarget(flags);
      exit(await showReach(target, output, namespace?.split(',')));
    });
}

/** Measures and shows. The answer is yes when all packets do what the design says. */
export async function showReach(
  target: ClusterTarget,
  output: string,
  namespaces?: readonly string[],
): Promise<number> {
  const shape = format(output);
  const started = performance.now();
  const probes = await measureReach(
    target,
    progress,
    (p) => namespaces === undefined || namespaces.includes(p.from.namespace),
  );
  const wrong = probes.filter((p) => !p.match);
  if (shape !== 'text') {
    printData(shape, { probes });
    return wrong.length === 0 ? EXIT.yes : EXIT.no;
  }
  print(tableText(reachTable(probes, paint)));
  print(
    `\n${probes.length} probes in ${((performance.now() - started) / 1000).toFixed(1)} s: ${wrong.length === 0 ? paint('green', 'all as the design says') : paint('red', `${wrong.length} differ from what the design says`)}`,
  );
  for (const p of wrong.slice(0, 20)) print(`  ${describe(p)}`);
  if (wrong.length > 20) print(`  … and ${wrong.length - 20} more: -o json has all`);
  return wrong.length === 0 ? EXIT.yes : EXIT.no;
}

/** `bulkhead status`. */
export function statusCommand(exit: (code: number) => void): Command {
  return targetOptions(new Command('status'))
    .description('show the controller, the nodes and the networks')
    .addOption(outputOption())
    .action(async ({ output, ...flags }: Shown) => {
      const shape = format(output);
      await using target = chooseTarget(flags);
      const status = await clusterStatus(target);
      if (shape !== 'text') printData(shape, status);
      else {
        const mark = (text: string): string => paint(text === 'True' || text === 'yes' ? 'green' : 'red', text);
        print(
          `controller ${status.controller.leader === '' ? paint('red', 'no leader') : status.controller.leader}, epoch ${status.controller.epoch}`,
        );
        if (status.components.length > 0) {
          print('');
          print(
            tableText([
              ['COMPONENT', 'NODE', 'READY', 'RESTARTS'],
              ...status.components.map((c) => [c.name, c.node, mark(c.ready ? 'yes' : 'no'), String(c.restarts)]),
            ]),
          );
        }
        print('');
        print(
          tableText([
            ['NODE', 'NETWORK', 'READY', 'REASON'],
            ...status.nodes.map((n) => [n.name, n.network, mark(n.ready), n.reason]),
          ]),
        );
        if (status.networks.length > 0) {
          print('');
          print(
            tableText([
              ['VIRTUALNETWORK', 'VNI', 'READY', 'USED', 'FREE', 'NODES', 'REASON'],
              ...status.networks.map((n) => [
                n.name,
                String(n.vni ?? '–'),
                mark(n.ready),
                String(n.used),
                String(n.free),
                String(n.nodes),
                n.reason,
              ]),
            ]),
          );
        }
        for (const n of status.nodes) if (n.ready !== 'True') print(`\n${n.name}: ${n.message}`);
      }
      exit(status.healthy ? EXIT.yes : EXIT.no);
    });
}
