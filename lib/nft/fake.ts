import { type Nft, NftError, type Prepared } from './nft.ts';
import type { NftSet } from './elements.ts';
import { type NftChange, type NftObject, renderChanges, type TableName } from './program.ts';

type Table = {
  readonly sets: Map<string, Map<string, string>>;
  readonly chains: Map<string, string[]>;
  readonly counters: Map<string, { packets: bigint; bytes: bigint }>;
  /** By set and key, for elements that do not live for ever. */
  readonly expires: Map<string, number>;
};

/**
 * nft in memory, for the commands that `program.ts` writes. A transaction is all or nothing; what refers to a chain or set
 * that is not there is refused, and so is the deletion of one that is still referred to: as the kernel does.
 */
export class FakeNft implements Nft {
  #tables = new Map<string, Table>();
  /** Asked before each transaction; what it returns is thrown. */
  faults: (script: string) => NftError | undefined = () => undefined;

  run(script: string): void {
    const fault = this.faults(script);
    if (fault) throw fault;
    const before = this.#tables;
    this.#tables = structuredClone(before);
    try {
      for (const line of script.split('\n')) if (line.trim() !== '') this.#line(line.trim(), script);
      this.#checkReferences(script);
    } catch (error) {
      this.#tables = before;
      throw error;
    }
  }

  change(
    table: TableName,
    changes: readonly NftChange[],
    _setOf: (name: string) => NftSet | undefined,
    prepared: readonly Prepared[] = [],
  ): void {
    const script = renderChanges(table, [...changes, ...prepared.flatMap((p) => p.changes)]);
    if (script !== '') this.run(script);
  }

  prepare(_table: TableName, changes: readonly NftChange[]): Prepared {
    return { batch: { removed: [], added: [] }, changes };
  }

  elements(table: TableName, { name }: NftSet): Extract<NftObject, { kind: 'element' }>[] {
    const t = this.#tables.get(table);
    const keys = [...(t?.sets.get(name)?.keys() ?? [])].filter((key) => !key.includes(' limit '));
    return keys.map((key) => {
      const expires = t?.expires.get(`${name} ${key}`);
      return { kind: 'element', set: name, key, ...(expires === undefined ? {} : { expires }) };
    });
  }

  counters(table: TableName): Extract<NftObject, { kind: 'counter' }>[] {
    const all = this.#tables.get(table)?.counters ?? new Map<string, { packets: bigint; bytes: bigint }>();
    return [...all].map(([name, from]) => ({ kind: 'counter', name, from }));
  }

  list(): string {
    return [...this.#tables.keys()].map((t) => `table ${t}\n`).join('');
  }

  /** One object a line, sorted. */
  dump(table: string): string {
    const t = this.#tables.get(table);
    const lines = [...(t?.sets ?? [])].flatMap(([name, elements]) => [
      `set ${name}`,
      ...[...elements].map(([k, v]) => `element ${name} ${k}${v === '' ? '' : ` : ${v}`}`),
    ]);
    lines.push(...[...(t?.counters.keys() ?? [])].map((name) => `counter ${name}`));
    lines.push(...[...(t?.chains ?? [])].map(([name, rules]) => `chain ${name} { ${rules.join('; ')} }`));
    return lines.sort().join('\n');
  }

  /** As if another program had flushed the ruleset. */
  flush(): void {
    this.#tables = new Map();
  }

  [Symbol.dispose](): void {
    this.#tables = new Map();
  }

  #line(line: string, script: string): void {
    const fail = (code: 'ENOENT' | 'EEXIST'): never => {
      throw new NftError(
        code === 'ENOENT'
          ? `Error: Could not process rule: No such file or directory\n${line}`
          : `Error: Could not process rule: File exists\n${line}`,
        script,
      );
    };
    const [, verb = '', kind = '', family = '', name = '', rest = ''] =
      /^(\w+) (\w+) (\w+) (\S+) ?(.*)$/.exec(line) ?? [];
    const tableName = `${family} ${name}`;
    if (kind === 'table') {
      if (verb === 'add')
        this.#tables.set(
          tableName,
          this.#tables.get(tableName) ?? {
            sets: new Map(),
            chains: new Map(),
            counters: new Map(),
            expires: new Map(),
          },
        );
      else if (!this.#tables.delete(tableName)) fail('ENOENT');
      return;
    }
    const table = this.#tables.get(tableName) ?? fail('ENOENT');
    const [object = '', ...tail] = rest.split(' ');
    const body = tail.join(' ');
    switch (`${verb} ${kind}`) {
      case 'add set':
      case 'add map':
        table.sets.set(object, table.sets.get(object) ?? new Map());
        return;
      case 'delete set':
      case 'delete map':
        if (!table.sets.delete(object)) fail('ENOENT');
        return;
      case 'add counter': {
        const [, packets = 0, bytes = 0] = /packets (\d+) bytes (\d+)/.exec(body) ?? [];
        if (!table.counters.has(object)) table.counters.set(object, { packets: BigInt(packets), bytes: BigInt(bytes) });
        return;
      }
      case 'delete counter':
        if (!table.counters.delete(object)) fail('ENOENT');
        return;
      case 'add chain':
        table.chains.set(object, table.chains.get(object) ?? []);
        return;
      case 'flush chain':
        if (!table.chains.has(object)) fail('ENOENT');
        table.chains.set(object, []);
        return;
      case 'delete chain':
        if (!table.chains.delete(object)) fail('ENOENT');
        return;
      case 'add rule':
        (table.chains.get(object) ?? fail('ENOENT')).push(body);
        return;
      case 'add element':
      case 'delete element': {
        const elements = table.sets.get(object) ?? fail('ENOENT');
        for (const each of body.slice(2, -2).split(', ')) {
          const [text = '', value = ''] = each.split(' : ');
          const [key = '', ms] = text.split(' expires ');
          if (ms !== undefined) table.expires.set(`${object} ${key}`, Number.parseInt(ms, 10));
          if (verb === 'delete') {
            if (!elements.delete(key)) fail('ENOENT');
          } else if (elements.has(key) && elements.get(key) !== value) fail('EEXIST');
          else elements.set(key, value);
        }
        return;
      }
      default:
        throw new NftError(`Error: syntax error\n${line}`, script);
    }
  }

  #checkReferences(script: string): void {
    for (const { chains, sets, counters } of this.#tables.values()) {
      const texts = [...[...chains.values()].flat(), ...[...sets.values()].flatMap((s) => [...s.values()])];
      for (const text of texts) {
        for (const [, chain = ''] of text.matchAll(/\b(?:goto|jump) ([^\s,}]+)/g))
          if (!chains.has(chain))
            throw new NftError(`Error: Could not process rule: No such file or directory (chain ${chain})`, script);
        for (const [, counter = ''] of text.matchAll(/\bcounter name (\S+)/g))
          if (!counters.has(counter))
            throw new NftError(`Error: No such file or directory (counter ${counter})`, script);
        for (const [, set = ''] of text.matchAll(/@([^\s,}]+)/g))
          if (!sets.has(set)) throw new NftError(`Error: No such file or directory (set ${set})`, script);
      }
    }
  }
}
