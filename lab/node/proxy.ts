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
import { frontendKey, type NatPort, serviceChain, serviceChains } from '../../lib/servicenat/service-chains.ts';
import type { KubeObject } from '../../lib/kube/client.ts';
import { arr, at, type Json, num, str, strs } from '../apiserver/path.ts';

/** What the proxy of one node needs to know. */
export type ProxyInput = {
  readonly node: string;
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
    for (const [key] of [...this.#tracker.desiredEntries()]) if (!desired.has(key)) this.#tracker.release(key);
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
export function proxyProgram({ node, podCIDRs, services, slices }: ProxyInput): NftObject[] {
  const program: NftObject[] = [...base(podCIDRs)];
  const byService = new Map<string, KubeObject[]>();
  for (const slice of slices) {
    const key = `${slice.metadata.namespace}/${slice.metadata.labels?.['kubernetes.io/service-name'] ?? ''}`;
    byService.set(key, [...(byService.get(key) ?? []), slice]);
  }
  for (const service of services) {
    const key = `${service.metadata.namespace}/${service.metadata.name}`;
    for (const ip of strs(at(service, 'spec', 'clusterIPs'))) {
      if (ip === 'None') continue;
      for (const port of arr(at(service, 'spec', 'ports')))
        program.push(...portObjects(node, service, byService.get(key) ?? [], ip, port));
    }
  }
  return [...new Map(program.map((o) => [keyOf(o), o])).values()];
}

function portObjects(
  node: string,
  service: KubeObject,
  slices: readonly KubeObject[],
  ip: string,
  port: Json,
): NftObject[] {
  const family = familyOf(ip);
  const protocol = str(port['protocol']).toLowerCase() as NatPort['protocol'];
  const backends = backendsOf(slices, port, family);
  const local = backends.filter((b) => b.node === node);
  const affinity =
    at(service, 'spec', 'sessionAffinity') === 'ClientIP'
      ? { affinitySeconds: num(at(service, 'spec', 'sessionAffinityConfig', 'clientIP', 'timeoutSeconds')) || 10_800 }
      : {};
  const base = `${service.metadata.namespace}/${service.metadata.name}/${protocol}/${num(port['port'])}`;
  const inside = at(service, 'spec', 'internalTrafficPolicy') === 'Local' ? local : backends;
  const objects: NftObject[] = [];
  const add = (nat: NatPort, map: string, key: string): void => {
    const chains = serviceChains(nat);
    objects.push(...chains);
    if (chains.length > 0) objects.push({ kind: 'element', set: map, key, value: `goto ${serviceChain(nat)}` });
    else objects.push({ kind: 'element', set: map.replace('svc', 'none').replace('np', 'npnone'), key });
  };
  const notPods = `${family === 4 ? 'ip' : 'ip6'} saddr != @pods${family} meta mark set meta mark or ${MASQUERADE}`;
  add(
    { id: base, family, protocol, backends: inside, ...affinity, before: [notPods] },
    `svc${family}`,
    frontendKey(ip, protocol, num(port['port'])),
  );
  const nodePort = num(port['nodePort']);
  if (nodePort !== 0) {
    const keepsClient = at(service, 'spec', 'externalTrafficPolicy') === 'Local';
    const before = keepsClient ? [] : [`meta mark set meta mark or ${MASQUERADE}`];
    add(
      { id: `${base}/nodeport`, family, protocol, backends: keepsClient ? local : backends, ...affinity, before },
      `np${family}`,
      `${protocol} . ${nodePort}`,
    );
  }
  for (const { address, kind, sources } of outerAddresses(service, family)) {
    const keepsClient = at(service, 'spec', 'externalTrafficPolicy') === 'Local';
    const word = family === 4 ? 'ip' : 'ip6';
    const before = [
      ...(sources.length > 0 ? [`${word} saddr != { ${sources.join(', ')} } drop`] : []),
      ...(keepsClient ? [] : [`meta mark set meta mark or ${MASQUERADE}`]),
    ];
    add(
      { id: `${base}/${kind}`, family, protocol, backends: keepsClient ? local : backends, ...affinity, before },
      `svc${family}`,
      frontendKey(address, protocol, num(port['port'])),
    );
  }
  // A pod that reaches itself must see another source, or its answer never comes back through here.
  for (const b of local) objects.push({ kind: 'element', set: `hairpin${family}`, key: `${b.ip} . ${b.ip}` });
  return objects;
}

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

function backendsOf(
  slices: readonly KubeObject[],
  port: Json,
  family: 4 | 6,
): { ip: string; port: number; node: string }[] {
  const all = slices
    .filter((s) => s['addressType'] === `IPv${family}`)
    .flatMap((s) => {
      const number = num(
        arr(s['ports']).find((p) => str(p['name']) === str(port['name']) && p['protocol'] === port['protocol'])?.[
          'port'
        ],
      );
      return number === 0
        ? []
        : arr(s['endpoints']).map((e) => ({
            ip: strs(e['addresses'])[0] ?? '',
            port: number,
            node: str(e['nodeName']),
            conditions: e['conditions'],
          }));
    });
  const ready = all.filter((b) => at(b.conditions, 'ready') !== false);
  const chosen =
    ready.length > 0
      ? ready
      : all.filter((b) => at(b.conditions, 'serving') === true && at(b.conditions, 'terminating') === true);
  return chosen.map(({ ip, port, node }) => ({ ip, port, node })).sort((a, b) => (a.ip < b.ip ? -1 : 1));
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
