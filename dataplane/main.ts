import { Command } from 'commander';
import { AGENT_SOCKET } from '../api/cni.ts';
import { PROGRAM_VERSION } from '../api/version.ts';
import { loadAccess } from '../lib/kube/kubeconfig.ts';
import { installLastResort } from '../lib/process/last-resort.ts';
import { openLog, takeLogLevel } from '../lib/process/log.ts';
import { runPhases } from '../lib/process/phases.ts';
import { Agent } from './agent.ts';
import { cleanUpNode } from './cleanup.ts';
import type { AgentSettings } from './settings.ts';

const log = openLog('agent');

type Options = {
  node: string;
  kubeconfig?: string;
  token?: string;
  runDir: string;
  stateDir: string;
  cniConfDir: string;
  socket: string;
  cniBinDir?: string;
  plugin?: string;
  healthPort: string;
  metricsListen: string;
  auditInterval: string;
  addressRest: string;
  connectionsPerPod?: string;
};

const program = new Command('bulkhead-agent')
  .description('Attach the pods of one node to their networks.')
  .version(PROGRAM_VERSION)
  .option('--node <name>', 'name of this node', process.env['NODE_NAME'])
  .option('--kubeconfig <file>', 'kubeconfig for the API server; default: the ServiceAccount of the pod')
  .option('--token <file>', 'ServiceAccount token with audience bulkhead-controller', '/var/run/secrets/bulkhead/token')
  .option('--run-dir <dir>', 'journal; must be a tmpfs', '/run/bulkhead')
  .option('--state-dir <dir>', 'last good configuration; survives a reboot', '/var/lib/bulkhead')
  .option('--cni-conf-dir <dir>', 'folder in which the runtime looks for network configurations', '/etc/cni/net.d')
  .option('--cni-bin-dir <dir>', 'folder in which the runtime looks for plugins; the agent copies --plugin to it')
  .option('--plugin <file>', 'the CNI plugin to install')
  .option('--health-port <port>', 'loopback port of /healthz and /readyz; 0 for none', '9445')
  .option('--metrics-listen <host:port>', 'address of /metrics (TLS); empty for none', '[::]:9444')
  .option('--socket <file>', 'where the CNI plugin finds this agent', AGENT_SOCKET)
  .option('--audit-interval <seconds>', 'interval at which the agent compares the kernel with what it should be', '30')
  .option('--address-rest <seconds>', 'time before a released address is assigned again', '30')
  .option(
    '--connections-per-pod <number>',
    'connections that one pod may have in a tracking table, 0 for any number; default: an eighth of nf_conntrack_max',
  );
takeLogLevel(program, log);

/** What the flags say. Throws with what to give instead. */
function settingsOf(options: Options): AgentSettings {
  const { connectionsPerPod, plugin, cniBinDir } = options;
  if (!options.node) throw new Error('give --node, or set NODE_NAME');
  const perPod = connectionsPerPod === undefined ? undefined : Number(connectionsPerPod);
  if (perPod !== undefined && !(Number.isInteger(perPod) && perPod >= 0 && perPod < 2 ** 31))
    throw new Error(`--connections-per-pod ${connectionsPerPod}: give a whole number, or 0 for any number`);
  const [, host = '', port] = /^(.*):(\d+)$/.exec(options.metricsListen) ?? [];
  return {
    node: options.node,
    access: loadAccess(options.kubeconfig),
    token: options.token ?? '',
    runDir: options.runDir,
    stateDir: options.stateDir,
    cniConfDir: options.cniConfDir,
    socket: options.socket,
    plugin: plugin === undefined || cniBinDir === undefined ? undefined : { file: plugin, binDir: cniBinDir },
    healthPort: options.healthPort === '0' ? undefined : Number(options.healthPort),
    metricsListen: port === undefined ? undefined : { host: host.replace(/^\[|\]$/g, ''), port: Number(port) },
    auditMs: Number(options.auditInterval) * 1000,
    restMs: Number(options.addressRest) * 1000,
    connectionsPerPod: perPod,
  };
}

program
  .command('cleanup')
  .description('remove all that an agent made on this node; run it while no agent runs')
  .option('--host <dir>', "the node's file system, when it is mounted somewhere", '')
  .option('--cni-bin-dir <dir>', 'where the runtime looks for plugins', '/opt/cni/bin')
  .action(({ host, cniBinDir }: { host: string; cniBinDir: string }) => {
    const removed = cleanUpNode({
      host,
      cniBinDir,
      runDir: '/run/bulkhead',
      stateDir: '/var/lib/bulkhead',
      cniConfDir: '/etc/cni/net.d',
    });
    log.info({ removed }, removed.length === 0 ? 'nothing of ours is here' : 'cleaned');
  });

program.action(async (options: Options) => {
  installLastResort(log);
  try {
    const stop = new AbortController();
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort());
    const agent = new Agent(settingsOf(options), log);
    await runPhases([(signal) => agent.follow(signal), () => agent.open(), () => agent.serve()], {
      stop: () => agent.stop(),
      signal: stop.signal,
    });
    process.exit(0);
  } catch (error) {
    log.fatal({ err: error }, 'agent failed');
    process.exit(1);
  }
});
await program.parseAsync();
