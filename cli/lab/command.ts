import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { applyManifests, deleteManifests } from '../../lib/manifests/apply.ts';
import { readManifests } from '../../lib/manifests/read.ts';
import { kubeconfigPath, labClient, labDown, labSpec, waitForPods } from '../../lab/world/lab.ts';
import { startProgram, stopProgram } from '../../lab/world/programs.ts';
import { systemClock } from '../../lib/reconcile/clock.ts';
import { checkout } from './checkout.ts';
import { showReach } from '../cluster/command.ts';
import { labTarget } from '../target/lab-target.ts';
import { EXIT } from '../terminal/exit-codes.ts';
import { format, paint, print, printData, progress, tableText } from '../terminal/output.ts';
import { defaultLabName } from '../target/lab-name.ts';
import { execInPod } from './exec.ts';
import { readExecArguments } from './exec-arguments.ts';
import { labNames, labStatus } from '../target/lab-status.ts';
import { up, type UpFlags } from './up.ts';

const nameOption = (): Option =>
  new Option('--name <name>', 'name of the lab').default(defaultLabName(), '$BULKHEAD_LAB, or "default"');
const outputOption = (): Option => new Option('-o, --output <format>', 'text, json or yaml').default('text');
const collect = (value: string, before: readonly string[]): string[] => [...before, value];
const warn = (text: string): boolean => process.stderr.write(`warning: ${text}\n`);
type Named = { name: string };
type Shown = Named & { output: string };
type Exit = (code: number) => void;

/** `bulkhead lab …`. Each action returns through `exit` with its code. */
export function labCommand(exit: Exit, runInPod: typeof execInPod = execInPod): Command {
  const lab = new Command('lab')
    .description('run a cluster on this machine: real packets, no container runtime')
    .enablePositionalOptions();
  addLife(lab);
  addStatus(lab, exit);
  addManifests(lab);
  addPrograms(lab, exit, runInPod);
  addReach(lab, exit);
  return lab;
}

const upFlags = (c: Command): Command =>
  c
    .addOption(nameOption())
    .option('--nodes <count>', 'number of nodes', '3')
    .option('--ip-family <family>', 'ipv4, ipv6 or dual', 'dual')
    .option('-f, --file <path>', 'file or folder of manifests to apply; may be repeated', collect, [])
    .option('--without-admission', 'do not install the policies and the webhook of manifests/admission');

/** `up`, `down`. */
function addLife(lab: Command): void {
  upFlags(lab.command('up').description('create a lab and wait until its pods are ready')).action((flags: UpFlags) =>
    up(flags),
  );

  lab
    .command('down')
    .description('delete a lab')
    .addOption(nameOption())
    .action(async ({ name }: Named) => await labDown(name));
}

function addStatus(lab: Command, exit: Exit): void {
  lab
    .command('status')
    .description('show which programs of a lab run')
    .addOption(nameOption())
    .addOption(outputOption())
    .action(async ({ name, output }: Shown) => {
      const shape = format(output);
      if (shape === 'text' && labNames().length === 0) print('no lab is up');
      const status = await labStatus(name);
      if (shape !== 'text') printData(shape, status);
      else {
        const mark = (ok: boolean): string => (ok ? paint('green', 'yes') : paint('red', 'no'));
        print(
          tableText([
            ['PROCESS', 'PID', 'ALIVE'],
            ...status.processes.map((p) => [p.role, String(p.pid), mark(p.alive)]),
          ]),
        );
        print('');
        print(tableText([['NODE', 'READY'], ...status.nodes.map((n) => [n.name, mark(n.ready)])]));
        print(`\npods ready: ${status.pods.ready} of ${status.pods.total}`);
      }
      exit(status.healthy ? EXIT.yes : EXIT.no);
    });
}

/** `apply`, `delete`. */
function addManifests(lab: Command): void {
  lab
    .command('apply')
    .description('apply manifests and wait until pods are ready')
    .addOption(nameOption())
    .requiredOption('-f, --file <path>', 'a file or a folder; may be repeated', collect, [])
    .option('--no-wait', 'do not wait for pods')
    .action(async ({ name, file, wait }: Named & { file: string[]; wait: boolean }) => {
      await using client = labClient(name);
      for (const done of await applyManifests(client, file.flatMap(readManifests), warn)) print(`${done} applied`);
      if (wait) await waitForPods(client, labSpec(name), systemClock.now() + 120_000, progress);
      progress('');
    });

  lab
    .command('delete')
    .description('delete the objects that manifests name')
    .addOption(nameOption())
    .requiredOption('-f, --file <path>', 'a file or a folder; may be repeated', collect, [])
    .action(async ({ name, file }: Named & { file: string[] }) => {
      await using client = labClient(name);
      for (const done of await deleteManifests(client, file.flatMap(readManifests))) print(`${done} deleted`);
    });
}

/** `exec`, `stop`, `start`, `kubeconfig`. */
function addPrograms(lab: Command, exit: Exit, runInPod: typeof execInPod): void {
  lab
    .command('exec')
    .description("run a program of this machine in a pod's network namespace, or on a node")
    .addOption(nameOption())
    .argument('<pod>', 'namespace/name, or as much of the name as is unique; or node/name')
    .argument('[command...]', 'program and arguments, after --')
    .passThroughOptions()
    .action(async (pod: string, words: string[], { name: before }: Named) => {
      const { name = before, command } = readExecArguments(words);
      exit(await runInPod(name, pod, command));
    });

  for (const [word, does, act] of [
    ['stop', 'end a program of Bulkhead, to see what holds without it', stopProgram],
    ['start', 'start a program again that was stopped', startProgram],
  ] as const)
    lab
      .command(word)
      .description(does)
      .argument('<program>', 'controller, or agent-n1 for the agent of node n1')
      .addOption(nameOption())
      .action(async (role: string, { name }: Named) => await act(name, role));

  lab
    .command('kubeconfig')
    .description('print the kubeconfig of a lab')
    .addOption(nameOption())
    .action(({ name }: Named) => print(readFileSync(kubeconfigPath(labSpec(name).name), 'utf8').trimEnd()));
}

/** `reach`, `run`. */
function addReach(lab: Command, exit: Exit): void {
  lab
    .command('reach')
    .description('connect every pod to everything, and compare with what the objects say')
    .addOption(nameOption())
    .addOption(outputOption())
    .action(async ({ name, output }: Shown) => {
      await using target = labTarget(name);
      exit(await showReach(target, output));
    });

  upFlags(lab.command('run').description('create a lab, apply the examples, show who reaches whom'))
    .option('--once', 'delete the lab afterwards')
    .action(async ({ once, ...flags }: UpFlags & { once?: boolean }) => {
      const file = flags.file.length > 0 ? flags.file : [join(checkout, 'examples/shops')];
      try {
        await up({ ...flags, file });
        await using target = labTarget(flags.name);
        exit(await showReach(target, 'text'));
        if (!once)
          print(
            `\nThe lab stays up. Next:  ./bulkhead lab status   ./bulkhead trace shop-a/web shop-b/web   ./bulkhead lab down`,
          );
      } finally {
        if (once) await labDown(flags.name);
      }
    });
}
