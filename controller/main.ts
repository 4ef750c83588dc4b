import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { Command, Option } from 'commander';
import { PROGRAM_VERSION } from '../api/version.ts';
import { loadAccess } from '../lib/kube/kubeconfig.ts';
import { installLastResort } from '../lib/process/last-resort.ts';
import { openLog, takeLogLevel } from '../lib/process/log.ts';
import { runPhases } from '../lib/process/phases.ts';
import { Replica, type ReplicaSettings } from './replica.ts';

const log = openLog('controller');

type Options = {
  kubeconfig?: string;
  listen: string;
  advertise?: string;
  podCidrs?: string;
  serviceCidrs?: string;
  identity: string;
  webhookClientCa?: string;
};

const program = new Command('bulkhead-controller')
  .description('Allocate networks and send every node what it needs.')
  .version(PROGRAM_VERSION)
  .option('--kubeconfig <file>', 'kubeconfig for the API server; default: the ServiceAccount of the pod')
  .option('--listen <host:port>', 'where agents connect to', '[::]:9443')
  .option('--advertise <host>', 'address at which agents reach this replica; default: the host name')
  .option('--pod-cidrs <list>', "pod ranges of the cluster, comma-separated; default: all nodes' pod CIDRs")
  .option('--service-cidrs <list>', 'Service ranges of the cluster, comma-separated')
  .option(
    '--webhook-client-ca <file>',
    'authority of the certificate that the API server shows to webhooks; default: identify the API server by its address',
  )
  .addOption(
    new Option('--identity <name>', 'name of this replica on the Lease').default(
      `${hostname()}-${process.pid}`,
      'host name and process id',
    ),
  );
takeLogLevel(program, log);

const list = (text: string | undefined): string[] => (text === undefined || text === '' ? [] : text.split(','));
function splitHostPort(text: string): { readonly host: string; readonly port: number } {
  const at = text.lastIndexOf(':');
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(text.slice(at + 1)) };
}

/** What the flags say. */
const settingsOf = (options: Options): ReplicaSettings => ({
  access: loadAccess(options.kubeconfig),
  listen: splitHostPort(options.listen),
  advertised: options.advertise ?? hostname(),
  podCIDRs: list(options.podCidrs),
  serviceCIDRs: list(options.serviceCidrs),
  identity: options.identity,
  clientCa: options.webhookClientCa === undefined ? undefined : readFileSync(options.webhookClientCa, 'utf8'),
});

program.action(async (options: Options) => {
  installLastResort(log);
  try {
    const stop = new AbortController();
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort());
    const replica = new Replica(settingsOf(options), log);
    await runPhases([(signal) => replica.serve(signal), (signal) => replica.lead(signal)], {
      stop: () => replica.stop(),
      signal: stop.signal,
    });
    process.exit(0);
  } catch (error) {
    log.fatal({ err: error }, 'controller failed');
    process.exit(1);
  }
});
await program.parseAsync();
