import type { NftObject } from '../nft/program.ts';

/** One port of one Service, of one family. */
export type NatPort = {
  /** Unique, in the characters of nft identifiers: "ns/name/tcp/80". What clients are remembered by. */
  readonly id: string;
  /** Another choice of backends for the same port: a chain of its own, with the memory of the others. */
  readonly variant?: string;
  readonly family: 4 | 6;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly backends: readonly { readonly ip: string; readonly port: number }[];
  readonly affinitySeconds?: number;
  /** Rules before the choice of a backend, for example to set a mark. */
  readonly before?: readonly string[];
};

/** Name of the chain that a verdict map should go to for this port. */
export const serviceChain = (p: Pick<NatPort, 'id' | 'family' | 'variant'>): string =>
  `svc${p.family}/${p.id}${p.variant === undefined ? '' : `/${p.variant}`}`;

/** The chains and sets for one port. Empty when it has no backend: the caller rejects such packets. */
export function serviceChains(p: NatPort): NftObject[] {
  if (p.backends.length === 0) return [];
  return p.affinitySeconds === undefined ? [spreadChain(p)] : affinityObjects(p, p.affinitySeconds);
}

/** "10.0.0.1 . tcp . 80": the key of a frontend in a map of type `ipvX_addr . inet_proto . inet_service`. */
export const frontendKey = (ip: string, protocol: NatPort['protocol'], port: number): string =>
  `${ip} . ${protocol} . ${port}`;

function spreadChain(p: NatPort): NftObject {
  const { family, protocol, backends } = p;
  const dnat = `meta l4proto ${protocol} dnat ${ipWord(family)} to`;
  const targets = backends.map((b, i) => `${i} : ${b.ip} . ${b.port}`);
  const rules =
    backends.length <= MOST_RULES
      ? drawn(backends.map((b) => `${dnat} ${hostPort(family, b)}`))
      : [`${dnat} numgen random mod ${backends.length} map { ${targets.join(', ')} }`];
  return { kind: 'chain', name: serviceChain(p), rules: [...(p.before ?? []), ...rules] };
}

/**
 * Up to so many backends are drawn one after the other. A map in a rule is a set without a name, and the kernel looks at all sets
 * of the table when it names the next one: with thousands of Services that is what a change costs.
 */
const MOST_RULES = 8;

/** One of these by chance, all alike. */
const drawn = (statements: readonly string[]): string[] =>
  statements.map((statement, i) => {
    const left = statements.length - i;
    return left === 1 ? statement : `numgen random mod ${left} 0 ${statement}`;
  });

const ipWord = (family: 4 | 6): string => (family === 4 ? 'ip' : 'ip6');

/** A client that was here before goes where it went; the set remembers, and each use renews the memory. */
function affinityObjects(p: NatPort, seconds: number): NftObject[] {
  const ip = ipWord(p.family);
  const name = (kind: string, b: NatPort['backends'][number]): string =>
    `${kind}${p.family}/${p.id}/${b.ip.replaceAll(':', '_')}/${b.port}`;
  const sets = p.backends.map(
    (b): NftObject => ({
      kind: 'set',
      name: name('aff', b),
      type: p.family === 4 ? 'ipv4_addr' : 'ipv6_addr',
      flags: ['dynamic', 'timeout'],
      timeout: seconds,
    }),
  );
  const endpoints = p.backends.map(
    (b): NftObject => ({
      kind: 'chain',
      name: name('ep', b),
      rules: [
        `update @${name('aff', b)} { ${ip} saddr }`,
        `meta l4proto ${p.protocol} dnat ${ip} to ${hostPort(p.family, b)}`,
      ],
    }),
  );
  const remembered = p.backends.map((b) => `${ip} saddr @${name('aff', b)} goto ${name('ep', b)}`);
  const rules = [...(p.before ?? []), ...remembered, ...drawn(p.backends.map((b) => `goto ${name('ep', b)}`))];
  return [...sets, ...endpoints, { kind: 'chain', name: serviceChain(p), rules }];
}

const hostPort = (family: 4 | 6, b: { readonly ip: string; readonly port: number }): string =>
  family === 4 ? `${b.ip}:${b.port}` : `[${b.ip}]:${b.port}`;
