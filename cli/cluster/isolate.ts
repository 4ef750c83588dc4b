import { Command, Option } from 'commander';
import { planConversion } from '../../core/decide/convert.ts';
import { keyOf } from '../../core/cluster/state.ts';
import { viewOf } from '../../core/view/view.ts';
import { KUBELET_PORT } from '../../lib/kube/kubelet-port.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import { EXIT } from '../terminal/exit-codes.ts';
import { format, paint, print, printData, progress, tableText, UsageError } from '../terminal/output.ts';
import { chooseTarget, type TargetFlags, targetOptions } from '../target/choose.ts';
import { loadState } from './state.ts';
import type { ClusterTarget } from '../target/target.ts';

type Flags = TargetFlags & { output: string; dryRun?: boolean; restart: boolean };

/** `bulkhead isolate NAMESPACE`: an existing namespace onto a network of its own, after a look at what that cuts. */
export function isolateCommand(exit: (code: number) => void): Command {
  return targetOptions(new Command('isolate'))
    .description(
      'isolate an existing namespace: name the connections that end, label the namespace, restart its workloads',
    )
    .argument('<namespace>')
    .option('--dry-run', 'only print what would change')
    .option('--no-restart', 'only label the namespace: pods move when they are recreated')
    .addOption(new Option('-o, --output <format>', 'text, json or yaml').default('text'))
    .action(async (namespace: string, { output, dryRun, restart, ...flags }: Flags) => {
      const shape = format(output);
      await using target = chooseTarget(flags);
      const plan = planConversion(viewOf(await loadState(target)), namespace, { nodePort: KUBELET_PORT });
      if (plan.obstacle !== undefined) throw new UsageError(plan.obstacle);
      if (shape !== 'text') printData(shape, { ...plan, restart: plan.restart.map(keyOf), dryRun: dryRun === true });
      else {
        const ends = plan.changes.filter((c) => c.before === 'open');
        print(`${plan.restart.length} pod(s) of namespace ${namespace} move to network ${namespace}/default.`);
        if (ends.length === 0) print('No connection that is possible now ends.');
        else {
          print('\nThese end:');
          print(
            tableText([
              ['FROM', 'TO', 'AFTERWARDS', 'WHY'],
              ...ends.map((c) => [c.from, c.to, paint('yellow', c.after), paint('dim', c.why)]),
            ]),
          );
        }
      }
      if (dryRun === true) return exit(EXIT.yes);
      await target.kubectl(['label', 'namespace', namespace, 'bulkhead.dev/isolated=true']);
      progress('waiting for the network');
      await target.kubectl(['-n', namespace, 'wait', '--for=create', 'virtualnetwork/default', '--timeout=60s']);
      await target.kubectl([
        '-n',
        namespace,
        'wait',
        '--for=condition=Ready',
        'virtualnetwork/default',
        '--timeout=60s',
      ]);
      if (restart) await restartAll(target, namespace);
      progress('');
      const left = plan.restart.length === 0 ? [] : await strays(target, namespace);
      if (left.length > 0)
        print(`\nStill on the flat network, to be deleted and recreated by their owners: ${left.join(', ')}`);
      else if (shape === 'text') print(`\nnamespace ${namespace} is isolated`);
      exit(left.length > 0 && restart ? EXIT.failed : EXIT.yes);
    });
}

async function restartAll(target: ClusterTarget, namespace: string): Promise<void> {
  for (const kind of ['deployment', 'statefulset', 'daemonset']) {
    const names = (await target.kubectl(['-n', namespace, 'get', kind, '-o', 'name']))
      .split('\n')
      .filter((n) => n !== '');
    for (const name of names) {
      progress(`restarting ${name}`);
      await target.kubectl(['-n', namespace, 'rollout', 'restart', name]);
    }
    for (const name of names) {
      progress(`waiting for ${name}`);
      await target.kubectl(['-n', namespace, 'rollout', 'status', name, '--timeout=100s']);
    }
  }
}

/** Pods of the namespace that are not on its network: bare ones, and those of owners that know no rollout. */
async function strays(target: ClusterTarget, namespace: string): Promise<string[]> {
  const { state } = viewOf(await loadState(target));
  const blocks = [...state.blocks.values()].filter((b) => b.network === `${namespace}/default`).map((b) => b.cidr);
  return [...state.pods.values()]
    .filter((p) => p.namespace === namespace && !p.hostNetwork && !p.finished && p.ips.length > 0)
    .filter((p) => !p.ips.some((ip) => blocks.some((c) => contains(mustPrefix(c), mustIp(ip)))))
    .map((p) => p.name);
}
