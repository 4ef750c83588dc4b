/** An object as a manifest has it. */
export type Manifest = Record<string, unknown>;

/** An object, and where it is in the list that holds it; without one it is the document. */
export type Item = { readonly object: Manifest; readonly place?: Place };
type Place = { readonly index: number; readonly list: Place | undefined };

/** The path to an object inside its document. */
export function pathOf({ place }: Item): (string | number)[] {
  const path: (string | number)[] = [];
  for (let at = place; at; at = at.list) path.push(at.index, 'items');
  return path.reverse();
}

/**
 * The objects of a document: itself, or what a List holds, at any depth. The items of a list of one kind ("PodList") may leave out
 * their kind, as the API server's own answers do. A field that is null is one that is not there.
 */
export function itemsOf(document: unknown): { readonly items: Item[]; readonly problem?: string } {
  const items: Item[] = [];
  const waiting: Item[] = [{ object: document as Manifest }];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { object, place } = next;
    if (!isManifest(object) || typeof object['kind'] !== 'string' || typeof object['apiVersion'] !== 'string')
      return { items, problem: 'an object without apiVersion and kind' };
    const { kind, apiVersion } = object as { kind: string; apiVersion: string };
    const held = object['items'];
    if (!isList(object)) {
      items.push(next);
      continue;
    }
    if (held !== undefined && held !== null && !Array.isArray(held))
      return { items, problem: `items of a ${kind} must be a list of objects` };
    const own = kind === 'List' ? {} : { apiVersion, kind: kind.slice(0, -'List'.length) };
    const inside = ((held ?? []) as unknown[]).map((item, index) => ({
      object: (isManifest(item) ? withKind(item, own) : item) as Manifest,
      place: { index, list: place },
    }));
    waiting.push(...inside.reverse());
  }
  return { items };
}

/** Whether an object holds others: a List, or a list of one kind, also one that is empty. */
function isList(object: Manifest): boolean {
  const kind = object['kind'] as string;
  if (kind === 'List') return true;
  if (!kind.endsWith('List')) return false;
  const held = object['items'];
  return Array.isArray(held) || (!('spec' in object) && nameOf(object) === undefined);
}

const nameOf = (object: Manifest): unknown =>
  isManifest(object['metadata']) ? (object['metadata']['name'] ?? undefined) : undefined;

const withKind = (item: Manifest, own: Manifest): Manifest => ({
  ...item,
  ...Object.fromEntries(Object.entries(own).filter(([field]) => item[field] === undefined || item[field] === null)),
});

export const isManifest = (v: unknown): v is Manifest => typeof v === 'object' && v !== null && !Array.isArray(v);
