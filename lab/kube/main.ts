import { createServer as createHttpsServer, type Server } from 'node:https';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { FastifyInstance } from 'fastify';
import { formatPrefix, mustPrefix, nth } from '../../lib/ip/prefix.ts';
import { listenIn } from '../../lib/netns/listen.ts';
import { issueServer, makeAuthority } from '../../lib/pki/certificates.ts';
import { Operations } from '../apiserver/operations.ts';
import { at, obj, strs } from '../apiserver/model/path.ts';
import { Admission } from '../apiserver/admission/admission.ts';
import { Requests } from '../apiserver/requests.ts';
import { apiServer } from '../apiserver/server.ts';
import { usersOf } from './users.ts';
import { startEcho } from '../node/echo.ts';
import {
  API,
  API_PORT,
  fabricAddress,
  families,
  KUBERNETES_IP,
  type LabSpec,
  labDir,
  netPath,
  NODE_CIDR_LENGTH,
  OUTSIDE_PORT,
  OUTSIDE_UDP_PORT,
  POD_CIDR,
  SERVICE_CIDR,
} from '../world/plan.ts';
import { webhookCaller } from './call-webhook.ts';
import { controllerDialer } from './dial-controller.ts';
import { runEndpoints } from './endpoints.ts';
import { runLifecycle } from './lifecycle.ts';
import { follow } from './queue.ts';
import { runScheduler } from './scheduler.ts';
import { runWorkloads } from './workloads.ts';

/** The control plane of a lab in one process: API server, controllers, and the outside host's answers. */
export async function runKube(lab: LabSpec, log: (message: string, fields?: object) => void): Promise<FastifyInstance> {
  const fs = families(lab.family);
  const ops = new Operations({
    serviceCIDRs: fs.map((f) => SERVICE_CIDR[f]),
    families: fs,
    strict: lab.admission !== false,
  });
  const onError = (key: string, error: unknown): void => log('controller', { key, err: (error as Error).message });
  const admission = new Admission(ops.store, ops.resources, webhookCaller(controllerDialer(lab)), (message) =>
    log('audit', { message }),
  );
  bootstrap(ops, fs);
  runNodeIpam(ops, fs, lab.nodeCidrLength ?? NODE_CIDR_LENGTH[4]);
  runLifecycle(ops, onError);
  runWorkloads(ops, new Requests(ops, admission), onError);
  runEndpoints(ops, onError);
  runScheduler(ops, onError);

  const authority = await makeAuthority('bulkhead-lab');
  const hosts = [
    '127.0.0.1',
    'localhost',
    'kubernetes',
    'kubernetes.default.svc',
    ...fs.flatMap((f) => [fabricAddress(f, API), KUBERNETES_IP[f]]),
  ];
  const tls = await issueServer(authority, 'kube-apiserver', hosts);
  const api = apiServer(ops, usersOf(lab), admission);
  await api.ready();
  const servers: Server[] = [];
  const serve = (listen: (s: Server) => void): void => {
    const server = createHttpsServer({ cert: tls.cert, key: tls.key }, (request, response) =>
      api.routing(request, response),
    );
    server.keepAliveTimeout = 60_000;
    servers.push(server);
    listen(server);
  };
  for (const f of fs)
    serve((s) => s.listen({ fd: listenIn(netPath(lab.name, 'fabric'), 'tcp', fabricAddress(f, API), API_PORT) }));
  serve((s) => s.listen(lab.port, '127.0.0.1'));
  mkdirSync(labDir(lab.name), { recursive: true });
  writeFileSync(`${labDir(lab.name)}/ca.crt`, tls.ca);

  const outside = { namespace: '', name: 'outside', node: '' };
  startEcho(netPath(lab.name, 'outside'), { protocol: 'TCP', port: OUTSIDE_PORT }, outside, tls);
  startEcho(netPath(lab.name, 'outside'), { protocol: 'UDP', port: OUTSIDE_UDP_PORT }, outside, tls);
  log('serving', { port: lab.port });
  return api;
}

/** What every cluster has from its first moment. */
function bootstrap(ops: Operations, fs: readonly (4 | 6)[]): void {
  for (const name of ['default', 'kube-system', 'kube-public', 'kube-node-lease']) {
    ops.create(ops.resources.kind('Namespace', ''), undefined, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name },
    });
  }
  ops.create(ops.resources.kind('Service', ''), 'default', {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'kubernetes', namespace: 'default' },
    spec: {
      clusterIPs: fs.map((f) => KUBERNETES_IP[f]),
      ipFamilyPolicy: fs.length > 1 ? 'PreferDualStack' : 'SingleStack',
      ports: [{ name: 'https', port: 443, targetPort: API_PORT }],
    },
  });
  for (const f of fs) {
    ops.create(ops.resources.kind('EndpointSlice'), 'default', {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        // The API server keeps one slice of that name, of the cluster's first family; a lab has the other family beside it.
        name: f === fs[0] ? 'kubernetes' : `kubernetes-ipv${f}`,
        namespace: 'default',
        labels: { 'kubernetes.io/service-name': 'kubernetes' },
      },
      addressType: `IPv${f}`,
      ports: [{ name: 'https', protocol: 'TCP', port: API_PORT }],
      endpoints: [{ addresses: [fabricAddress(f, API)], conditions: { ready: true } }],
    });
  }
}

/** Gives each node its pod CIDRs, as kube-controller-manager does with --allocate-node-cidrs. */
function runNodeIpam(ops: Operations, fs: readonly (4 | 6)[], length4: number): void {
  const type = ops.resources.kind('Node', '');
  follow(ops, 'Node', '', (node, gone) => {
    if (gone || strs(at(node, 'spec', 'podCIDRs')).length > 0) return;
    const used = new Set([...ops.store.all(type)].flatMap((n) => strs(at(n, 'spec', 'podCIDRs'))));
    const podCIDRs = fs.map((f) => {
      const range = mustPrefix(POD_CIDR[f]);
      const length = f === 4 ? length4 : NODE_CIDR_LENGTH[6];
      const size = 1n << BigInt((f === 4 ? 32 : 128) - length);
      for (let i = 1n; ; i++) {
        const cidr = formatPrefix({ family: f, first: nth(range, i * size).value, length });
        if (!used.has(cidr)) return cidr;
      }
    });
    ops.store.update(type, { ...node, spec: { ...obj(node['spec']), podCIDR: podCIDRs[0], podCIDRs } });
  });
}
