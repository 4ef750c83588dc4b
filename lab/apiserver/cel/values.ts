import { isObject } from '../model/path.ts';

/**
 * An object as expressions see it: whole numbers are int, fields without a value are absent. Objects of the API never change, so
 * each is converted once.
 */
export function celValue(value: unknown): unknown {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : value;
  if (typeof value !== 'object' || value === null) return value;
  const known = converted.get(value);
  if (known !== undefined) return known;
  const made = Array.isArray(value) ? (value as unknown[]).map(celValue) : fieldsOf(value);
  converted.set(value, made);
  return made;
}

/**
 * Adds to an object the names by which expressions may reach fields that CEL cannot spell: `__namespace__`, `a__dash__b`. They are
 * no fields: neither iterated nor compared.
 */
export function withEscapedNames(object: object, names: Iterable<string>): void {
  for (const name of names) {
    const escaped = escapeName(name);
    if (escaped === name || !Object.hasOwn(object, name) || Object.hasOwn(object, escaped)) continue;
    Object.defineProperty(object, escaped, { value: (object as Record<string, unknown>)[name], enumerable: false });
  }
}

/** Whether two values of JSON are the same; the order of fields does not count. */
export function sameValue(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a))
    return Array.isArray(b) && a.length === b.length && a.every((v, i) => sameValue(v, (b as unknown[])[i]));
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((k) => Object.hasOwn(b, k) && sameValue(a[k], b[k]));
}

const converted = new WeakMap<object, unknown>();

function fieldsOf(object: object): object {
  const fields: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(object)) if (value !== undefined) set(fields, key, celValue(value));
  return fields;
}

/** `__proto__` is a key like any other in an object of the API. */
function set(fields: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__') Object.defineProperty(fields, key, { value, enumerable: true });
  else fields[key] = value;
}

const RESERVED = new Set(
  'true false null in as break const continue else for function if import let loop package namespace return var void while'.split(
    ' ',
  ),
);
const ESCAPES: Readonly<Record<string, string>> = {
  __: '__underscores__',
  '.': '__dot__',
  '-': '__dash__',
  '/': '__slash__',
};

const escapeName = (name: string): string =>
  RESERVED.has(name) ? `__${name}__` : name.replaceAll(/__|[./-]/g, (c) => ESCAPES[c] ?? c);
