import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

// Sizes beyond which a newcomer does not find the way any more. Lines of files and functions are oxlint's to count (.oxlintrc.json);
// here are members of classes. Code is formatted, so a member is a line with two spaces in front of it.

const MOST_PUBLIC = 10;
const MOST_FIELDS = 12;

/** Classes that are larger still, each to be split: the list gets shorter only. */
const STILL_LARGE: readonly string[] = [
  'lab/apiserver/operations.ts Operations',
  'lab/apiserver/objects/store.ts Store',
  'test/system/lab.ts TestLab',
];

const FOLDERS = ['api', 'lib', 'core', 'controller', 'dataplane', 'cni-plugin', 'lab', 'cli', 'hack', 'test'];
const root = join(import.meta.dirname, '..');

type Shape = { readonly name: string; readonly public: ReadonlySet<string>; readonly fields: ReadonlySet<string> };

/** The classes of a file, with the names of their members. */
function classesIn(path: string): Shape[] {
  const found: { name: string; public: Set<string>; fields: Set<string> }[] = [];
  let open: (typeof found)[number] | undefined;
  for (const line of readFileSync(join(root, path), 'utf8').split('\n')) {
    const start = /^(?:export )?(?:abstract )?class (\w+)/.exec(line);
    if (start) found.push((open = { name: `${path} ${start[1]}`, public: new Set(), fields: new Set() }));
    if (line === '}') open = undefined;
    const member = /^ {2}((?:static |async |readonly |override |get |set |\*)*)(#?[\w$]+|\[Symbol\.\w+\])(.*)$/.exec(
      line,
    );
    const [, words = '', name = '', rest = ''] = member ?? [];
    if (!open || !member || name === 'constructor') continue;
    const isMethod = /^(<[^(]*>)?\(/.test(rest) || /\b[gs]et /.test(words);
    if (!isMethod && !words.includes('static')) open.fields.add(name);
    if (!name.startsWith('#')) open.public.add(name);
  }
  return found;
}

const classes = FOLDERS.flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.ts') && !f.endsWith('.test.ts'))
    .flatMap((f) => classesIn(join(folder, f))),
);
const isLarge = (c: Shape): boolean => c.public.size > MOST_PUBLIC || c.fields.size > MOST_FIELDS;

describe('classes', () => {
  test(`have at most ${MOST_PUBLIC} public members and ${MOST_FIELDS} fields`, () => {
    expect(classes.length).toBeGreaterThan(50);
    const large = classes.filter((c) => isLarge(c) && !STILL_LARGE.includes(c.name));
    expect(large.map((c) => `${c.name}: ${c.public.size} public, ${c.fields.size} fields`)).toEqual([]);
  });

  test('every exception is one still', () => {
    expect(STILL_LARGE.filter((name) => !classes.some((c) => c.name === name && isLarge(c)))).toEqual([]);
  });

  test('members have names of more than one letter', () => {
    const short = classes.flatMap((c) =>
      [...c.public, ...c.fields].filter((m) => /^#?[a-z]$/.test(m)).map((m) => `${c.name}.${m}`),
    );
    expect([...new Set(short)]).toEqual([]);
  });
});
