/** Reading JSON of unknown shape: what is not there, or is of another type, reads as empty. */
export type Json = { readonly [field: string]: unknown };

export const isObject = (v: unknown): v is Json => typeof v === 'object' && v !== null && !Array.isArray(v);
export const obj = (v: unknown): Json => (isObject(v) ? v : {});
export const arr = (v: unknown): readonly Json[] => (Array.isArray(v) ? v.filter(isObject) : []);
export const str = (v: unknown): string => (typeof v === 'string' ? v : '');
export const num = (v: unknown): number => (typeof v === 'number' ? v : 0);
export const strs = (v: unknown): readonly string[] => (Array.isArray(v) ? v.filter((s) => typeof s === 'string') : []);

/** The value at a path of field names. */
export function at(value: unknown, ...path: readonly string[]): unknown {
  let found: unknown = value;
  for (const step of path) found = obj(found)[step];
  return found;
}
