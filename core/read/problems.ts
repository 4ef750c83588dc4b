import type { ZodType, output } from 'zod';
import type { LabelSelector } from '../../api/kinds/label-selector.ts';

/** Collects everything that is wrong with an object, with the path of each field. */
export class Problems {
  readonly all: string[] = [];

  add(path: string, message: string): void {
    this.all.push(`${path}: ${message}`);
  }

  /** The value, or undefined with all its problems noted. */
  read<S extends ZodType>(schema: S, raw: unknown, path: string): output<S> | undefined {
    const parsed = schema.safeParse(raw);
    if (parsed.success) return parsed.data;
    for (const issue of parsed.error.issues) {
      const inner = issue.path.map((p) => (typeof p === 'number' ? `[${p}]` : `.${String(p)}`)).join('');
      this.add(`${path}${inner}`, issue.message);
    }
    return undefined;
  }

  /** A list of such values: absent is empty. `ok` is false when any could not be read. */
  readList<S extends ZodType>(
    schema: S,
    raw: unknown,
    path: string,
    most = Number.POSITIVE_INFINITY,
  ): { readonly items: output<S>[]; readonly ok: boolean } {
    if (raw === undefined || raw === null) return { items: [], ok: true };
    if (!Array.isArray(raw)) {
      this.add(path, 'must be a list');
      return { items: [], ok: false };
    }
    const before = this.all.length;
    if (raw.length > most) this.add(path, `has ${raw.length} entries, and at most ${most} are allowed`);
    const items = raw.flatMap((item, i) => this.read(schema, item, `${path}[${i}]`) ?? []);
    return { items, ok: this.all.length === before };
  }

  /** Fields that are not known. */
  unknownFields(raw: Readonly<Record<string, unknown>>, known: readonly string[], path: string): boolean {
    const odd = Object.keys(raw).filter((k) => !known.includes(k));
    for (const field of odd) this.add(`${path}.${field}`, 'is not a field of this version');
    return odd.length > 0;
  }
}

/** When an object was made, milliseconds; 0 when it does not say. */
export const createdOf = (meta: Readonly<Record<string, unknown>>): number =>
  Date.parse(String(meta['creationTimestamp'] ?? '')) || 0;

/** An object, or an empty one for anything else. */
export const objectOf = (raw: unknown): Readonly<Record<string, unknown>> =>
  typeof raw === 'object' && raw !== null && !Array.isArray(raw) ? (raw as Record<string, unknown>) : {};

/** Every pod, every namespace. */
export const EVERYTHING: LabelSelector = {};
