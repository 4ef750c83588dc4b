/**
 * A table as a bag of objects with keys. Two programs differ object by object, so a change is as big as what changed.
 *
 * References only point backwards in the order that is rendered: sets, counters, chains, rules, elements.
 */
export type NftObject =
  | {
      readonly kind: 'set';
      readonly name: string;
      /** "ipv4_addr . inet_proto . inet_service" */
      readonly type: string;
      /** Makes it a map: "verdict", "mark" … */
      readonly to?: string;
      readonly flags?: readonly string[];
      /** Seconds that a dynamic element lives. */
      readonly timeout?: number;
      /** The most elements: for sets that packets add to. */
      readonly size?: number;
    }
  | {
      readonly kind: 'chain';
      readonly name: string;
      readonly hook?: {
        readonly type: 'filter' | 'nat' | 'route';
        readonly hook: string;
        readonly priority: string;
        readonly policy: 'accept' | 'drop';
      };
      readonly rules: readonly string[];
    }
  /** A named counter; rules say `counter name NAME`. It keeps counting when a rule that names it is replaced. */
  | {
      readonly kind: 'counter';
      readonly name: string;
      /** What it starts from when it is made; absent: 0. */
      readonly from?: { readonly packets: bigint; readonly bytes: bigint };
    }
  | {
      readonly kind: 'element';
      readonly set: string;
      readonly key: string;
      readonly value?: string;
      /** Milliseconds that it still lives, in a set with a timeout; absent: the set's. */
      readonly expires?: number;
    };

/** Unique within the table. */
export function keyOf(o: NftObject): string {
  switch (o.kind) {
    case 'set':
    case 'chain':
    case 'counter':
      return `${o.kind} ${o.name}`;
    case 'element':
      return `element ${o.set} ${o.key}`;
  }
}

/** Whether the kernel's object needs no change. */
export const sameObject = (a: NftObject, b: NftObject): boolean =>
  a.kind === 'element' && b.kind === 'element'
    ? a.set === b.set && a.key === b.key && a.value === b.value
    : JSON.stringify(a) === JSON.stringify(b);

/** What a transaction changes. `before` is what an update replaces. */
export type NftChange =
  | { readonly verb: 'set'; readonly object: NftObject; readonly before: NftObject | undefined }
  | { readonly verb: 'delete'; readonly object: NftObject };

/** The name of a table: family and name. */
export type TableName = `${'inet' | 'ip' | 'ip6'} ${string}`;

/** One atomic transaction for these changes; "" when there are none. */
export function renderChanges(table: TableName, changes: readonly NftChange[]): string {
  const sets: string[] = [];
  const chains: string[] = [];
  const flushes: string[] = [];
  const rules: string[] = [];
  // Of one set in one command: the parser takes thousands of elements faster than thousands of commands.
  const removed = new Map<string, string[]>();
  const added = new Map<string, string[]>();
  const deletedChains: string[] = [];
  const deletedSets: string[] = [];
  const counters: string[] = [];
  const deletedCounters: string[] = [];
  for (const change of changes) {
    const o = change.object;
    switch (o.kind) {
      case 'set':
        if (change.verb === 'delete')
          deletedSets.push(`delete ${o.to === undefined ? 'set' : 'map'} ${table} ${o.name}`);
        else sets.push(renderSet(table, o));
        break;
      case 'chain':
        if (change.verb === 'delete') {
          // Chains refer to each other: all are emptied before the first is deleted.
          flushes.push(`flush chain ${table} ${o.name}`);
          deletedChains.push(`delete chain ${table} ${o.name}`);
        } else {
          chains.push(renderChain(table, o));
          if (change.before) flushes.push(`flush chain ${table} ${o.name}`);
          rules.push(...o.rules.map((rule) => `add rule ${table} ${o.name} ${rule}`));
        }
        break;
      case 'counter':
        if (change.verb === 'delete') deletedCounters.push(`delete counter ${table} ${o.name}`);
        else counters.push(`add counter ${table} ${o.name}${o.from ? ` ${startOf(o.from)}` : ''}`);
        break;
      case 'element':
        // The value of an element cannot be changed in place.
        if (change.verb === 'delete' || change.before) push(removed, o.set, o.key);
        if (change.verb === 'set') push(added, o.set, elementText(o));
        break;
    }
  }
  const lines = [
    ...sets,
    ...counters,
    ...chains,
    ...flushes,
    ...rules,
    ...elementLines('delete', table, removed),
    ...elementLines('add', table, added),
    ...deletedChains,
    ...deletedSets,
    ...deletedCounters,
  ];
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

function elementText({ key, value, expires }: NftObject & { kind: 'element' }): string {
  const alive = expires === undefined ? key : `${key} expires ${Math.ceil(expires)}ms`;
  return value === undefined ? alive : `${alive} : ${value}`;
}

const startOf = ({ packets, bytes }: { readonly packets: bigint; readonly bytes: bigint }): string =>
  `{ packets ${packets} bytes ${bytes} }`;

function elementLines(
  verb: 'add' | 'delete',
  table: TableName,
  bySet: ReadonlyMap<string, readonly string[]>,
): string[] {
  return [...bySet].flatMap(([set, elements]) => {
    const lines: string[] = [];
    for (let i = 0; i < elements.length; i += MOST_ELEMENTS)
      lines.push(`${verb} element ${table} ${set} { ${elements.slice(i, i + MOST_ELEMENTS).join(', ')} }`);
    return lines;
  });
}

/** In one command. */
const MOST_ELEMENTS = 500;

function push(map: Map<string, string[]>, key: string, value: string): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

/** A transaction that makes the table exactly this program, whatever it was: no packet sees anything in between. */
export function renderFresh(table: TableName, program: Iterable<NftObject>): string {
  const changes: NftChange[] = [...program].map((object) => ({ verb: 'set', object, before: undefined }));
  return `add table ${table}\ndelete table ${table}\nadd table ${table}\n${renderChanges(table, changes)}`;
}

function renderSet(table: TableName, o: NftObject & { kind: 'set' }): string {
  const parts = [`type ${o.type}${o.to === undefined ? '' : ` : ${o.to}`};`];
  if (o.size !== undefined) parts.push(`size ${o.size};`);
  if (o.flags?.length) parts.push(`flags ${o.flags.join(',')};`);
  if (o.timeout !== undefined) parts.push(`timeout ${o.timeout}s;`);
  return `add ${o.to === undefined ? 'set' : 'map'} ${table} ${o.name} { ${parts.join(' ')} }`;
}

function renderChain(table: TableName, o: NftObject & { kind: 'chain' }): string {
  if (!o.hook) return `add chain ${table} ${o.name}`;
  const { type, hook, priority, policy } = o.hook;
  return `add chain ${table} ${o.name} { type ${type} hook ${hook} priority ${priority}; policy ${policy}; }`;
}
