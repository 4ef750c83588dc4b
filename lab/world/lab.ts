import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { WEBHOOK_CONFIGURATION } from '../../api/names.ts';
import { core, KubeClient } from '../../lib/kube/client.ts';
import { loadAccess } from '../../lib/kube/kubeconfig.ts';
import { systemClock } from '../../lib/reconcile/clock.ts';
import { applyManifests } from '../../lib/manifests/apply.ts';
import { readManifests } from '../../lib/manifests/read.ts';
import { buildWorld, inside, removeWorld, writeInNode } from './namespaces.ts';
import {
  API,
  API_PORT,
  CONTROLLER,
  CONTROLLER_PORT,
  DNS_IP,
  fabricAddress,
  families,
  isLabName,
  LABS_DIR,
  labDir,
  type LabFamily,
  type LabSpec,
  nodeHost,
  nodeNames,
  POD_CIDR,
  SERVICE_CIDR,
} from './plan.ts';
import { endProcesses, isAlive, listProcesses, logPath, startProcess } from './processes.ts';

/** A lab cannot be made or used. The message says what to do. */
export class LabError extends Error {
  override readonly name = 'LabError';
  readonly code: 'NotFound' | 'AlreadyUp' | 'Invalid' | 'TimedOut' | 'Died';
  constructor(code: LabError['code'], message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

export type UpOptions = {
  readonly name: string;
  readonly nodes: number;
  readonly family: LabFamily;
  readonly manifests: readonly string[];
  readonly checkout: string;
  readonly progress: (text: string) => void;
  /** Told what admission warns of in the manifests. */
  readonly onWarning?: (text: string) => void;
  readonly timeoutMs?: number;
  /** More arguments for agents, as a user would give them. */
  readonly agentArgs?: readonly string[];
  readonly nodeCidrLength?: number;
  /** `false`: without the policies and the webhook of manifests/admission, to see what is enforced without them. */
  readonly admission?: boolean;
};

/** Makes a lab from nothing and waits until all its pods are ready. Cleans up a half-dead one of the same name first. */
export async function labUp(o: UpOptions): Promise<LabSpec> {
  if (!isLabName(o.name))
    throw new LabError('Invalid', `"${o.name}" is no name for a lab: lower-case letters, digits and '-', at most 31`);
  if (process.getuid?.() !== 0) throw new LabError('Invalid', 'a lab makes network namespaces: run it as root');
  const objects = o.manifests.flatMap((path) => readManifests(path)); // refused before anything is made
  if (existsSync(labDir(o.name))) {
    const processes = listProcesses(o.name);
    if (processes.length > 0 && processes.every(isAlive))
      throw new LabError('AlreadyUp', `lab ${o.name} is up; take it down first: bulkhead lab down --name ${o.name}`);
    o.progress('removing what is left of an earlier lab');
    await labDown(o.name);
  }
  const tokens: Record<string, string> = { admin: token(), controller: token() };
  for (const node of nodeNames(o.nodes))
    Object.assign(tokens, { [`node:${node}`]: token(), [`agent:${node}`]: token(), [`agentapi:${node}`]: token() });
  const lab: LabSpec = {
    name: o.name,
    nodes: o.nodes,
    family: o.family,
    port: await freePort(),
    tokens,
    checkout: o.checkout,
    ...(o.agentArgs ? { agentArgs: o.agentArgs } : {}),
    ...(o.nodeCidrLength === undefined ? {} : { nodeCidrLength: o.nodeCidrLength }),
    ...(o.admission === undefined ? {} : { admission: o.admission }),
  };
  mkdirSync(labDir(o.name), { recursive: true, mode: 0o700 });
  writeFileSync(`${labDir(o.name)}/lab.json`, JSON.stringify(lab), { mode: 0o600 });
  const deadline = systemClock.now() + (o.timeoutMs ?? 120_000);
  try {
    o.progress('making namespaces');
    await buildWorld(lab);
    o.progress('starting the API server');
    startProcess(lab.name, 'kube', [process.execPath, join(o.checkout, 'dist/bulkhead-lab.mjs'), 'kube', lab.name]);
    await until(deadline, lab, 'the API server', { watch: true }, () => existsSync(`${labDir(lab.name)}/ca.crt`));
    writeFileSync(kubeconfigPath(lab.name), kubeconfig(lab, `https://127.0.0.1:${lab.port}`, 'admin'), { mode: 0o600 });
    await using client = labClient(lab.name);
    await until(
      deadline,
      lab,
      'the API server',
      { watch: true },
      async () => (await client.list(core('nodes')).catch(() => undefined)) !== undefined,
    );
    await applyManifests(
      client,
      [
        ...readManifests(join(o.checkout, 'manifests/crds')),
        ...(o.admission === false ? [] : readManifests(join(o.checkout, 'manifests/admission'))),
        ...readManifests(join(o.checkout, 'lab/manifests')),
      ].map((m) => withDnsIp(m, lab)),
    );
    o.progress(`starting the controller and ${lab.nodes} nodes`);
    writeFileSync(`${labDir(lab.name)}/controller.kubeconfig`, kubeconfig(lab, apiUrl(lab), 'controller'), {
      mode: 0o600,
    });
    startController(lab);
    await Promise.all(nodeNames(lab.nodes).map((node) => startNode(lab, node)));
    await until(deadline, lab, 'nodes to be ready', { watch: true }, async () => {
      const { items } = await client.list(core('nodes'));
      const ready = items.filter((n) =>
        JSON.stringify(n['status'] ?? {}).includes('"type":"Ready","status":"True"'),
      ).length;
      o.progress(`nodes ready: ${ready} of ${lab.nodes}`);
      return ready === lab.nodes;
    });
    if (o.admission !== false) {
      o.progress('waiting for the webhook');
      await until(deadline, lab, 'the webhook', { watch: true }, () => webhookIsTrusted(client));
    }
    await applyManifests(client, objects, o.onWarning);
    await waitForPods(client, lab, deadline, o.progress);
  } catch (error) {
    o.progress('');
    throw error;
  }
  return lab;
}

/** Whether the controller leads, and has told the API server to trust its certificate. */
async function webhookIsTrusted(client: KubeClient): Promise<boolean> {
  const { webhooks } = (await client.get(WEBHOOK_CONFIGURATIONS, WEBHOOK_CONFIGURATION)) as unknown as {
    webhooks?: { clientConfig: { caBundle?: string } }[];
  };
  return webhooks?.every((w) => w.clientConfig.caBundle !== undefined) ?? false;
}

const WEBHOOK_CONFIGURATIONS = {
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  plural: 'validatingwebhookconfigurations',
};

/** Starts the real controller of a lab. Also used to start it again after a test has killed it. */
export function startController(lab: LabSpec, replica = ''): void {
  const fs = families(lab.family);
  const [family = 4] = fs;
  const host = fabricAddress(family, CONTROLLER);
  const port = CONTROLLER_PORT + (replica === '' ? 0 : 1);
  startProcess(
    lab.name,
    `controller${replica}`,
    inside(lab.name, { net: 'fabric' }, [
      process.execPath,
      join(lab.checkout, 'dist/bulkhead-controller.mjs'),
      '--kubeconfig',
      `${labDir(lab.name)}/controller.kubeconfig`,
      '--listen',
      `${host.includes(':') ? `[${host}]` : host}:${port}`,
      '--advertise',
      host,
      '--pod-cidrs',
      fs.map((f) => POD_CIDR[f]).join(','),
      '--service-cidrs',
      fs.map((f) => SERVICE_CIDR[f]).join(','),
    ]),
  );
}

/** Starts the real agent of a node. */
export function startAgent(lab: LabSpec, node: string): void {
  startProcess(
    lab.name,
    `agent-${node}`,
    inside(lab.name, { node }, [
      process.execPath,
      '--max-semi-space-size=4', // as in manifests/agent
      join(lab.checkout, 'dist/bulkhead-agent.mjs'),
      '--node',
      node,
      '--kubeconfig',
      '/run/bulkhead-lab/agent.kubeconfig',
      '--token',
      '/run/bulkhead-lab/token',
      '--state-dir',
      '/run/bulkhead/state',
      '--cni-conf-dir',
      CNI_CONF_DIR,
      ...(lab.agentArgs ?? []),
    ]),
  );
}

/** Ends every process and removes every namespace and file of a lab. No error when there is none. */
export async function labDown(name: string): Promise<void> {
  await endProcesses(name, listProcesses(name), 0);
  removeWorld(name);
  if (existsSync(LABS_DIR) && readdirSync(LABS_DIR).length === 0) rmSync(LABS_DIR, { recursive: true });
}

/** The spec of a lab that is up. Throws NotFound. */
export function labSpec(name: string): LabSpec {
  try {
    return JSON.parse(readFileSync(`${labDir(name)}/lab.json`, 'utf8')) as LabSpec;
  } catch (cause) {
    throw new LabError('NotFound', `there is no lab ${name}; make one: bulkhead lab up --name ${name}`, cause);
  }
}

export const kubeconfigPath = (name: string): string => `${labDir(name)}/kubeconfig`;
export const labClient = (name: string): KubeClient => new KubeClient(loadAccess(kubeconfigPath(labSpec(name).name)));

/** Until every pod that is to run is ready. */
export async function waitForPods(
  client: KubeClient,
  lab: LabSpec,
  deadline: number,
  progress: (text: string) => void,
): Promise<void> {
  let waiting: string[] = [];
  try {
    await until(deadline, lab, 'pods to be ready', { watch: false }, async () => {
      const settled = await workloadsSettled(client);
      const { items } = await client.list(core('pods'));
      const unready = items.filter(
        (p) =>
          !JSON.stringify(p['status'] ?? {}).includes('"type":"Ready","status":"True"') &&
          (p['status'] as { phase?: string } | undefined)?.phase !== 'Succeeded',
      );
      waiting = unready.map((p) => `${p.metadata.namespace}/${p.metadata.name}`);
      progress(`pods ready: ${items.length - unready.length} of ${items.length}`);
      return settled && unready.length === 0;
    });
  } catch (error) {
    if (error instanceof LabError && error.code === 'TimedOut')
      throw new LabError(
        'TimedOut',
        `${error.message}: ${waiting.slice(0, 10).join(', ')}; kubectl describe tells why`,
        error,
      );
    throw error;
  }
}

/** Whether controllers have made all pods that manifests ask for. */
async function workloadsSettled(client: KubeClient): Promise<boolean> {
  const kinds = [
    { group: 'apps', version: 'v1', plural: 'deployments' },
    { group: 'apps', version: 'v1', plural: 'statefulsets' },
    { group: 'apps', version: 'v1', plural: 'daemonsets' },
  ];
  for (const kind of kinds) {
    for (const o of (await client.list(kind)).items) {
      const status = (o['status'] ?? {}) as {
        observedGeneration?: number;
        readyReplicas?: number;
        numberReady?: number;
        desiredNumberScheduled?: number;
      };
      const wanted = (o['spec'] as { replicas?: number }).replicas ?? status.desiredNumberScheduled ?? Number.NaN;
      if (
        status.observedGeneration !== o.metadata.generation ||
        (status.readyReplicas ?? status.numberReady ?? 0) !== wanted
      )
        return false;
    }
  }
  return true;
}

async function startNode(lab: LabSpec, node: string): Promise<void> {
  const fs = families(lab.family);
  const index = nodeNames(lab.nodes).indexOf(node);
  await writeInNode(lab.name, node, '/run/bulkhead-lab/kubeconfig', kubeconfig(lab, apiUrl(lab), `node:${node}`));
  await writeInNode(
    lab.name,
    node,
    '/run/bulkhead-lab/agent.kubeconfig',
    kubeconfig(lab, apiUrl(lab), `agentapi:${node}`),
  );
  await writeInNode(lab.name, node, '/run/bulkhead-lab/token', lab.tokens[`agent:${node}`] ?? '');
  startProcess(
    lab.name,
    `node-${node}`,
    inside(lab.name, { node }, [
      process.execPath,
      join(lab.checkout, 'dist/bulkhead-lab.mjs'),
      'node',
      '--node',
      node,
      '--ips',
      fs.map((f) => fabricAddress(f, nodeHost(index))).join(','),
      '--pod-cidrs',
      fs.map((f) => POD_CIDR[f]).join(','),
      '--kubeconfig',
      '/run/bulkhead-lab/kubeconfig',
      '--cni-conf-dir',
      CNI_CONF_DIR,
      '--cni-bin-dir',
      join(lab.checkout, 'dist/cni'),
    ]),
  );
  startAgent(lab, node);
}

const CNI_CONF_DIR = '/run/bulkhead-lab/cni/net.d';

async function until(
  deadline: number,
  lab: LabSpec,
  what: string,
  { watch }: { readonly watch: boolean },
  done: () => boolean | Promise<boolean>,
): Promise<void> {
  for (;;) {
    if (await done()) return;
    const dead = watch ? listProcesses(lab.name).find((p) => !isAlive(p)) : undefined;
    if (dead) {
      const log = readFileSync(logPath(lab.name, dead.role), 'utf8').trim().split('\n').slice(-3).join('\n');
      throw new LabError(
        'Died',
        `lab ${lab.name}: ${dead.role} ended while waiting for ${what}: ${log || 'it said nothing'}`,
      );
    }
    if (systemClock.now() > deadline) throw new LabError('TimedOut', `lab ${lab.name}: gave up waiting for ${what}`);
    await systemClock.sleep(100);
  }
}

function kubeconfig(lab: LabSpec, server: string, user: string): string {
  const ca = readFileSync(`${labDir(lab.name)}/ca.crt`).toString('base64');
  const name = `bulkhead-lab-${lab.name}`;
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': name,
    clusters: [{ name, cluster: { server, 'certificate-authority-data': ca } }],
    users: [{ name, user: { token: lab.tokens[user] } }],
    contexts: [{ name, context: { cluster: name, user: name, namespace: 'default' } }],
  });
}

function apiUrl(lab: LabSpec): string {
  const [family = 4] = families(lab.family);
  const host = fabricAddress(family, API);
  return `https://${host.includes(':') ? `[${host}]` : host}:${API_PORT}`;
}

/** The DNS Service has fixed addresses, in the families of the lab. */
function withDnsIp(object: Record<string, unknown>, lab: LabSpec): Record<string, unknown> {
  const meta = object['metadata'] as { name?: string };
  if (object['kind'] !== 'Service' || meta.name !== 'kube-dns') return object;
  const fs = families(lab.family);
  return {
    ...object,
    spec: {
      ...(object['spec'] as object),
      clusterIP: DNS_IP[fs[0] ?? 4],
      clusterIPs: fs.map((f) => DNS_IP[f]),
      ipFamilyPolicy: fs.length > 1 ? 'PreferDualStack' : 'SingleStack',
    },
  };
}

const token = (): string => randomBytes(24).toString('base64url');

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
