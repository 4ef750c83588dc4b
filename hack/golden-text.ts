import type { DesiredLink, Fragment } from '../dataplane/plan/fragment.ts';
import { TABLE } from '../dataplane/plan/names.ts';
import type { Route } from '../lib/netlink/inet.ts';
import { keyOf, type NftObject } from '../lib/nft/program.ts';

/** A part of a text that is compared as one: all routes of a namespace, one set, one chain. */
export type TextBlock = {
  /** "root" or "namespace bh-5" */
  readonly place: string;
  readonly title: string;
  readonly lines: readonly string[];
  /** Whether the order of its lines means something. */
  readonly ordered: boolean;
};

/** What stands in one namespace, in the order in which a packet meets it. */
export function blocksOf(place: string, fragments: readonly Fragment[]): TextBlock[] {
  const lines = <K extends keyof Fragment>(kind: K, text: (value: ItemOf<K>) => string): string[] =>
    [...new Set(fragments.flatMap((f) => ((f[kind] ?? []) as readonly ItemOf<K>[]).map(text)))].sort();
  const block = (title: string, of: readonly string[]): TextBlock[] =>
    of.length === 0 ? [] : [{ place, title, lines: of, ordered: false }];
  return [
    ...block('links', lines('links', linkLine)),
    ...block(
      'addresses',
      lines('addresses', (a) => `${a.cidr} dev ${a.dev} scope ${a.scope}`),
    ),
    ...block('routes', lines('routes', routeLine)),
    ...block(
      'neighbours',
      lines('neighbours', (n) => `${n.ip} lladdr ${n.mac} dev ${n.dev}`),
    ),
    ...block(
      'fdb',
      lines('fdb', (f) => `${f.mac} dev ${f.dev} dst ${f.dst}`),
    ),
    ...block(
      'sysctls',
      fragments.flatMap((f) => Object.entries(f.sysctls ?? {}).map(([name, value]) => `${name} = ${value}`)).sort(),
    ),
    ...tableBlocks(place, new Map(fragments.flatMap((f) => (f.nft ?? []).map((o) => [keyOf(o), o])))),
  ];
}

type ItemOf<K extends keyof Fragment> = NonNullable<Fragment[K]> extends readonly (infer T)[] ? T : never;

function linkLine({ name, mac, mtu, make }: DesiredLink): string {
  const kind =
    make.kind === 'vxlan'
      ? `vxlan id ${make.vni} local ${make.local} dstport ${make.port}`
      : make.kind === 'uplink'
        ? `veth peer ${make.rootName} in the root`
        : make.kind === 'elsewhere'
          ? 'veth, the peer of up0'
          : 'veth of a pod';
  return `${name} ${kind} address ${mac} mtu ${mtu}`;
}

function routeLine({ dst, type, via, dev, src, onlink, scope, metric }: Route): string {
  const words = [
    type === 'unicast' ? dst : `${type} ${dst}`,
    via && `via ${via}`,
    dev && `dev ${dev}`,
    onlink && 'onlink',
    scope && `scope ${scope}`,
    src && `src ${src}`,
    metric !== undefined && `metric ${metric}`,
  ];
  return words.filter((w) => typeof w === 'string').join(' ');
}

function tableBlocks(place: string, objects: ReadonlyMap<string, NftObject>): TextBlock[] {
  const all = [...objects.values()];
  const elements = Map.groupBy(
    all.filter((o) => o.kind === 'element'),
    (o) => o.set,
  );
  const named = <K extends NftObject['kind']>(kind: K) =>
    all.filter((o): o is NftObject & { kind: K } => o.kind === kind);
  const counters = named('counter').map((o) => o.name);
  return [
    ...(counters.length === 0
      ? []
      : [{ place, title: `table ${TABLE}: counters`, lines: counters.sort(), ordered: false }]),
    ...named('set').map((set) => ({
      place,
      title: `${set.to === undefined ? 'set' : 'map'} ${set.name}`,
      lines: [
        `type ${set.type}${set.to === undefined ? '' : ` : ${set.to}`}${setRest(set)}`,
        ...(elements.get(set.name) ?? []).map((e) => (e.value === undefined ? e.key : `${e.key} : ${e.value}`)).sort(),
      ],
      ordered: false,
    })),
    ...named('chain').map(({ name, hook, rules }) => ({
      place,
      title: `chain ${name}`,
      lines: [
        ...(hook ? [`type ${hook.type} hook ${hook.hook} priority ${hook.priority}; policy ${hook.policy}`] : []),
        ...rules,
      ],
      ordered: true,
    })),
  ];
}

const setRest = ({ size, flags, timeout }: NftObject & { kind: 'set' }): string =>
  [
    ...(size === undefined ? [] : [`; size ${size}`]),
    ...(flags?.length ? [`; flags ${flags.join(',')}`] : []),
    ...(timeout === undefined ? [] : [`; timeout ${timeout}s`]),
  ].join('');

/** All blocks, each below its title. */
export function fullText(blocks: readonly TextBlock[]): string {
  return byPlace(blocks, indented);
}

const indented = ({ lines }: TextBlock): string[] => lines.map((line) => `    ${line}`);

/** The blocks that differ from another state's: what is gone with a minus, what is new with a plus. */
export function differenceText(before: readonly TextBlock[], now: readonly TextBlock[]): string {
  const key = (b: TextBlock): string => `${b.place} ${b.title}`;
  const was = new Map(before.map((b) => [key(b), b]));
  const is = new Set(now.map(key));
  const places = new Set(before.map((b) => b.place));
  const gone = before.filter((b) => !is.has(key(b))).map((b) => ({ ...b, lines: b.lines.map((l) => `-   ${l}`) }));
  const changed = now.flatMap((b) => {
    // Of a namespace that the other state does not have, all is new.
    if (!places.has(b.place)) return [{ ...b, place: `${b.place}, all of it`, lines: indented(b) }];
    const old = was.get(key(b));
    if (!old) return [{ ...b, lines: b.lines.map((l) => `+   ${l}`) }];
    if (old.lines.join('\n') === b.lines.join('\n')) return [];
    return [{ ...b, lines: b.ordered ? orderedChanges(old.lines, b.lines) : unorderedChanges(old.lines, b.lines) }];
  });
  const text = byPlace([...gone, ...changed], (b) => b.lines);
  return text === '' ? 'nothing\n' : text;
}

function unorderedChanges(before: readonly string[], now: readonly string[]): string[] {
  return [
    ...before.filter((l) => !now.includes(l)).map((l) => `-   ${l}`),
    ...now.filter((l) => !before.includes(l)).map((l) => `+   ${l}`),
  ];
}

/** All lines of a chain, since a rule means what the rules around it leave to it. */
function orderedChanges(before: readonly string[], now: readonly string[]): string[] {
  const lines: string[] = [];
  let [i, j] = [0, 0];
  while (i < before.length || j < now.length) {
    const [old = '', line = ''] = [before[i], now[j]];
    if (i < before.length && j < now.length && old === line) {
      lines.push(`    ${line}`);
      [i, j] = [i + 1, j + 1];
    } else if (i < before.length && !now.slice(j).includes(old)) {
      lines.push(`-   ${old}`);
      i++;
    } else {
      lines.push(`+   ${line}`);
      j++;
    }
  }
  return lines;
}

function byPlace(blocks: readonly TextBlock[], linesOf: (block: TextBlock) => readonly string[]): string {
  return [...Map.groupBy(blocks, (b) => b.place)]
    .map(([place, of]) => `${place}\n${of.map((b) => `  ${b.title}\n${linesOf(b).join('\n')}\n`).join('')}`)
    .join('\n');
}
