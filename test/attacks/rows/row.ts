/** A test as "file › words of its title". */
type Shown = `test/${string} › ${string}` | `${string}.test.ts › ${string}`;

/** One attack, or one report of a fault in another network, and the tests that show that it does not work here. */
export type Row = { readonly row: string; readonly what: string; readonly shownBy: readonly Shown[] };
