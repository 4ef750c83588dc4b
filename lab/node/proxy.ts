import { familyOf } from '../../lib/ip/address.ts';
import { type Nft, NftError, openNft } from '../../lib/nft/nft.ts';
import {
  keyOf,
  type NftChange,
  type NftObject,
  renderChanges,
  renderFresh,
  sameObject,
} from '../../lib/nft/program.ts';
import { DeltaTracker } from '../../lib/reconcile/delta-tracker.ts';
import {
  type Endpoint,
  endpointsAt,
  type FrontendKind,
  type Place,
  policyFor,
  type TrafficPolicy,
  usefulness,
} from '../../lib/servicenat/endpoints.ts';
import { frontendKey, type NatPort, serviceChain, serviceChains } from '../../lib/servicenat/service-chains.ts';
import type { KubeObject } from '../../lib/kube/client.ts';
import { arr, at, type Json, num, str, strs } from '../apiserver/model/path.ts';

/** What the proxy of one node needs to know. */
export type ProxyInput = {
  readonly place: Place;
  readonly podCIDRs: readonly string[];
  readonly services: Iterable<KubeObject>;
  readonly slices: Iterable<KubeObject>;
};

const TABLE = 'inet lab-proxy';
const MASQUERADE = '0x4000';

/** Writes the Services of the cluster into one table of the node's namespace. */
export class Proxy implements Disposable {
  readonly #nft: Nft = openNft();
  readonly #tracker = new DeltaTracker<NftObject>(sameObject);
  #stands = false;

  apply(input: ProxyInput): void {
    const desired = new Map(proxyProgram(input).map((o) => [keyOf(o), o]));
    for (const [key, o] of desired) this.#tracker.desire(key, o);
    for (const [key] of [...this.#tracker.desired]) if (!desired.has(key)) this.#tracker.release(key);
    const changes: NftChange[] = [
      ...[...this.#tracker.pendingUpdates()].map(
        ({ value, real }): NftChange => ({ verb: 'set', object: value, before: real }),
      ),
      ...[...this.#tracker.pendingDeletions()].map(({ real }): NftChange => ({ verb: 'delete', object: real })),
    ];
    try {
      this.#nft.run(this.#stands ? renderChanges(TABLE, changes) : renderFresh(TABLE, desired.values()));
    } catch (error) {
      if (!(error instanceof NftError) || !this.#stands) throw error;
      this.#nft.run(renderFresh(TABLE, desired.values()));
    }
    this.#stands = true;
    this.#tracker.replaceReal(desired);
  }

  [Symbol.dispose](): void {
    this.#nft[Symbol.dispose]();
  }
}

/** The whole table for an input. Pure. */
export function proxyProgram({ place, podCIDRs, services, slices }: ProxyInput): NftObject[] {
  const program: NftObject[] = [...base(podCIDRs)];
  const byService = new Map<string, KubeObject[]>();
  for (const slice of slices) {
    const key = `${slice.metadata.namespace}/${slice.metadata.labels?.['kubernetes.io/service-name'] ?? ''}`;
    byService.set(key, [...(byService.get(key) ?? []), slice]);
  }
  for (const service of services) {
    if (!isServed(service)) continue;
    const mine = byService.get(`${service.metadata.namespace}/${service.metadata.name}`) ?? [];
    for (const ip of strs(at(service, 'spec', 'clusterIPs')))
      for (const port of arr(at(service, 'spec', 'ports')))
        program.push(...portObjects(place, service, mine, ip, port));
  }
  return [...new Map(program.map((o) => [keyOf(o), o])).values()];
}

/** Headless Services, names of others, and what another proxy is to serve, are passed over whole. */
function isServed(service: KubeObject): boolean {
  const [ip = 'None'] = strs(at(service, 'spec', 'clusterIPs'));
  const labels = service.metadata.labels ?? {};
  return (
    ip !== 'None' &&
    at(service, 'spec', 'type') !== 'ExternalName' &&
    !('service.kubernetes.io/service-proxy-name' in labels || 'service.kubernetes.io/headless' in labels)
  );
}

function portObjects(
  place: Place,
  service: KubeObject,
  slices: readonly KubeObject[],
  ip: string,
  port: Json,
): NftObject[] {
  const family = familyOf(ip);
  const word = family === 4 ? 'ip' : 'ip6';
  const protocol = str(port['protocol']).toLowerCase() as NatPort['protocol'];
  const all = backendsOf(slices, port, family);
  const affinity =
    at(service, 'spec', 'sessionAffinity') === 'ClientIP'
      ? { affinitySeconds: num(at(service, 'spec', 'sessionAffinityConfig', 'clientIP', 'timeoutSeconds')) || 10_800 }
      : {};
  const id = `${service.metadata.namespace}/${service.metadata.name}/${protocol}/${num(port['port'])}`;
  const policies = {
    internalTrafficPolicy: policy(at(service, 'spec', 'internalTrafficPolicy')),
    externalTrafficPolicy: policy(at(service, 'spec', 'externalTrafficPolicy')),
  };
  const nat = (variant: string, frontend: FrontendKind, from: 'inside' | 'outside', before: string[]): NatPort => {
    const backends = endpointsAt(all, policyFor(policies, frontend, from), place);
    return { id, variant, family, protocol, backends, ...affinity, before };
  };
  const objects: NftObject[] = [];
  /** Leads a frontend to a chain, or to a refusal when nothing is behind it. */
  const lead = (map: 'svc' | 'np', key: string, to: string | undefined): void => {
    if (to !== undefined) objects.push({ kind: 'element', set: `${map}${family}`, key, value: `goto ${to}` });
    else objects.push({ kind: 'element', set: `${map === 'svc' ? 'none' : 'npnone'}${family}`, key });
  };
  const masquerade = `meta mark set meta mark or ${MASQUERADE}`;
  const inner = nat('inner', 'ClusterIP', 'inside', [`${word} saddr != @pods${family} ${masquerade}`]);
  const known = (n: NatPort): string | undefined => (n.backends.length > 0 ? serviceChain(n) : undefined);
  objects.push(...serviceChains(inner));
  lead('svc', frontendKey(ip, protocol, num(port['port'])), known(inner));

  const keeps = policies.externalTrafficPolicy === 'Local';
  // Pods and the node itself are served as by the cluster IP, from everywhere; packets from outside as the policy says.
  const near = nat(
    'near',
    'NodePort',
    'inside',
    keeps ? [`${word} saddr != @pods${family} ${masquerade}`] : [masquerade],
  );
  const far = nat('far', 'NodePort', 'outside', keeps ? [] : [masquerade]);
  const outer = (name: string, sources: readonly string[]): string | undefined => {
    const inside = known(near);
    if (inside === undefined) return undefined;
    objects.push(...serviceChains(near), ...serviceChains(far), {
      kind: 'chain',
      name,
      rules: [
        ...(sources.length > 0 ? [`${word} saddr != { ${sources.join(', ')} } drop`] : []),
        `${word} saddr @pods${family} goto ${inside}`,
        `fib saddr type local goto ${inside}`,
        known(far) === undefined ? 'drop' : `goto ${serviceChain(far)}`,
      ],
    });
    return name;
  };
  const nodePort = num(port['nodePort']);
  if (nodePort !== 0) lead('np', `${protocol} . ${nodePort}`, outer(`ext${family}/${id}/nodeport`, []));
  for (const { address, kind, sources } of outerAddresses(service, family))
    lead('svc', frontendKey(address, protocol, num(port['port'])), outer(`ext${family}/${id}/${kind}`, sources));
  // A pod that reaches itself must see another source, or its answer never comes back through here.
  for (const b of all)
    if (b.node === place.node) objects.push({ kind: 'element', set: `hairpin${family}`, key: `${b.ip} . ${b.ip}` });
  return objects;
}

const policy = (value: unknown): TrafficPolicy => (value === 'Local' ? 'Local' : 'Cluster');

/** External and load balancer addresses, with who may use them. */
function outerAddresses(
  service: KubeObject,
  family: 4 | 6,
): { address: string; kind: 'external' | 'lb'; sources: string[] }[] {
  const ranges = strs(at(service, 'spec', 'loadBalancerSourceRanges')).filter((r) => familyOf(r) === family);
  const ingress = arr(at(service, 'status', 'loadBalancer', 'ingress')).map((i) => str(i['ip']));
  return [
    ...strs(at(service, 'spec', 'externalIPs')).map((address) => ({ address, kind: 'external' as const, sources: [] })),
    ...ingress.filter((ip) => ip !== '').map((address) => ({ address, kind: 'lb' as const, sources: ranges })),
  ].filter(({ address }) => familyOf(address) === family);
}

type Backend = Endpoint & { readonly ip: string; readonly port: number };

function backendsOf(slices: readonly KubeObject[], port: Json, family: 4 | 6): Backend[] {
  const found = slices
    .filter((s) => s['addressType'] === `IPv${family}`)
    .flatMap((s) => {
      const number = num(
        arr(s['ports']).find((p) => str(p['name']) === str(port['name']) && p['protocol'] === port['protocol'])?.[
          'port'
        ],
      );
      return number === 0 ? [] : arr(s['endpoints']).flatMap((e) => backend(e, number));
    });
  return found.sort((a, b) => (a.ip < b.ip ? -1 : 1));
}

function backend(endpoint: Json, port: number): Backend[] {
  const condition = (name: string): unknown => at(endpoint['conditions'], name);
  const ready = condition('ready') !== false;
  const serving = condition('serving') ?? ready;
  const use = usefulness({ ready, serving: serving === true, terminating: condition('terminating') === true });
  if (use === undefined) return [];
  const hints = (field: string): string[] => arr(at(endpoint['hints'], field)).map((h) => str(h['name']));
  return [
    {
      ip: strs(endpoint['addresses'])[0] ?? '',
      port,
      node: str(endpoint['nodeName']),
      ...(use === 'Ending' ? { ending: true } : {}),
      zones: hints('forZones'),
      nodes: hints('forNodes'),
    },
  ];
}

function base(podCIDRs: readonly string[]): NftObject[] {
  const both = (rule: (ip: string, f: 4 | 6) => string): string[] =>
    ([4, 6] as const).map((f) => rule(f === 4 ? 'ip' : 'ip6', f));
  const sets = ([4, 6] as const).flatMap((f): NftObject[] => {
    const addr = f === 4 ? 'ipv4_addr' : 'ipv6_addr';
    return [
      { kind: 'set', name: `svc${f}`, type: `${addr} . inet_proto . inet_service`, to: 'verdict' },
      { kind: 'set', name: `none${f}`, type: `${addr} . inet_proto . inet_service` },
      { kind: 'set', name: `np${f}`, type: 'inet_proto . inet_service', to: 'verdict' },
      { kind: 'set', name: `npnone${f}`, type: 'inet_proto . inet_service' },
      { kind: 'set', name: `hairpin${f}`, type: `${addr} . ${addr}` },
      { kind: 'set', name: `pods${f}`, type: addr, flags: ['interval'] },
    ];
  });
  const translate = [
    ...both((ip, f) => `${ip} daddr . meta l4proto . th dport vmap @svc${f}`),
    ...both((_ip, f) => `meta nfproto ipv${f} fib daddr type local meta l4proto . th dport vmap @np${f}`),
  ];
  const refuse = [
    ...both((ip, f) => `${ip} daddr . meta l4proto . th dport @none${f} goto refuse`),
    ...both((_ip, f) => `meta nfproto ipv${f} fib daddr type local meta l4proto . th dport @npnone${f} goto refuse`),
  ];
  const chain = (name: string, type: 'nat' | 'filter', hook: string, priority: string, rules: string[]): NftObject => ({
    kind: 'chain',
    name,
    hook: { type, hook, priority, policy: 'accept' },
    rules,
  });
  return [
    ...sets,
    ...podCIDRs.map((c): NftObject => ({ kind: 'element', set: `pods${familyOf(c)}`, key: c })),
    { kind: 'chain', name: 'refuse', rules: ['meta l4proto tcp reject with tcp reset', 'reject'] },
    chain('nat_pre', 'nat', 'prerouting', 'dstnat', translate),
    chain('nat_out', 'nat', 'output', '-100', translate),
    chain('input', 'filter', 'input', 'filter', refuse),
    chain('forward', 'filter', 'forward', 'filter', refuse),
    chain('output', 'filter', 'output', 'filter', refuse),
    chain('nat_post', 'nat', 'postrouting', 'srcnat', [
      `meta mark and ${MASQUERADE} != 0 masquerade`,
      ...both((ip, f) => `ct status dnat ${ip} saddr . ${ip} daddr @hairpin${f} masquerade`),
    ]),
  ];
}
