import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { KubeClient } from '../lib/kube/client.ts';
import { loadAccess } from '../lib/kube/kubeconfig.ts';
import { openLog, takeLogLevel } from '../lib/process/log.ts';
import { runKube } from './kube/main.ts';
import { runNode } from './node/main.ts';
import { labDir, type LabSpec } from './world/plan.ts';

/** The lab's own processes; `bulkhead lab up` starts them. */

const log = openLog('lab');
const tell = (message: string, fields: object = {}): void => log.info(fields, message);
const program = new Command('bulkhead-lab').description("Processes of a lab. Started by 'bulkhead lab up'.");
takeLogLevel(program, log);

program.command('kube <lab>').action(async (name: string) => {
  const lab = JSON.parse(readFileSync(`${labDir(name)}/lab.json`, 'utf8')) as LabSpec;
  await runKube(lab, tell);
});

program
  .command('node')
  .requiredOption('--node <name>')
  .requiredOption('--ips <list>')
  .requiredOption('--pod-cidrs <list>')
  .requiredOption('--kubeconfig <file>')
  .requiredOption('--cni-conf-dir <dir>')
  .requiredOption('--cni-bin-dir <dir>')
  .action(
    async (o: {
      node: string;
      ips: string;
      podCidrs: string;
      kubeconfig: string;
      cniConfDir: string;
      cniBinDir: string;
    }) => {
      const stop = new AbortController();
      for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort());
      const client = new KubeClient(loadAccess(o.kubeconfig));
      await runNode(
        {
          client,
          node: o.node,
          nodeIps: o.ips.split(','),
          podCIDRs: o.podCidrs.split(','),
          cniConfDir: o.cniConfDir,
          cniBinDir: o.cniBinDir,
          log: tell,
        },
        stop.signal,
      );
      process.exit(0);
    },
  );

process.on('unhandledRejection', (error) => log.error({ err: error }, 'unhandled rejection'));
await program.parseAsync();
