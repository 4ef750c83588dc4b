import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

// The floors of docs/architecture.md: imports only go down.

const root = join(import.meta.dirname, '..');

/** Which top folders a folder may import from, beside itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  api: [],
  lib: [],
  core: ['api', 'lib'],
  controller: ['api', 'lib', 'core'],
  dataplane: ['api', 'lib', 'core'],
  'cni-plugin': ['api', 'lib'],
  lab: ['api', 'lib'],
  cli: ['api', 'lib', 'core', 'lab'],
  hack: ['api', 'lib', 'core', 'controller', 'dataplane', 'cni-plugin', 'lab', 'cli'],
};
/** Folders of `lib` that touch nothing: pure code may use these only. */
const PURE_LIB = [
  'lib/ip',
  'lib/text',
  'lib/servicenat',
  'lib/nft/program.ts',
  'lib/netlink/inet.ts',
  'lib/netlink/flow.ts',
  'lib/netns/sysctl.ts',
];

type Import = { readonly from: string; readonly to: string; readonly typeOnly: boolean };

function importsOf(folder: string): Import[] {
  const files = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).filter(
    (f) => f.endsWith('.ts') && !f.endsWith('.test.ts'),
  );
  return files.flatMap((file) => {
    const path = join(root, folder, file);
    const text = readFileSync(path, 'utf8');
    const found = text.matchAll(/^(?:import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gms);
    return [...found].map(([, type, to = '']) => ({
      from: relative(root, path),
      to: to.startsWith('.') ? relative(root, resolve(dirname(path), to)) : to,
      typeOnly: type !== undefined,
    }));
  });
}

const isRelative = (to: string): boolean => /^[a-z-]+\/.*\.ts$/.test(to);

describe('imports go down only', () => {
  test.each(Object.entries(MAY_IMPORT))('%s', (folder, allowed) => {
    const wrong = importsOf(folder).filter(
      ({ to }) => isRelative(to) && ![folder, ...allowed].includes(to.split('/')[0] ?? ''),
    );
    expect(wrong).toEqual([]);
    expect(importsOf(folder).length).toBeGreaterThan(0);
  });

  test.each(['core', 'dataplane/plan', 'dataplane/desired'])(
    '%s is pure: no node:*, no package, no driver',
    (folder) => {
      const wrong = importsOf(folder).filter(({ to, typeOnly }) => {
        if (typeOnly) return false;
        if (!isRelative(to)) return true;
        return to.startsWith('lib/') && !PURE_LIB.some((p) => to.startsWith(p));
      });
      expect(wrong).toEqual([]);
    },
  );

  test('the plugin starts once for each call: of lib it takes only what costs nothing', () => {
    const wrong = importsOf('cni-plugin').filter(({ to }) => to.startsWith('lib/') && !to.startsWith('lib/text/'));
    expect(wrong).toEqual([]);
  });

  test('only `bulkhead lab` imports the lab: every other command is the product', () => {
    const wrong = importsOf('cli').filter(
      ({ from, to }) => !/^cli\/(lab\/|target\/lab-)/.test(from) && to.startsWith('lab/'),
    );
    expect(wrong).toEqual([]);
  });

  test.each(Object.keys(MAY_IMPORT))('%s: no two folders import each other', (top) => {
    const arrows = new Set(
      importsOf(top)
        .filter(({ to }) => to.startsWith(`${top}/`))
        .map(({ from, to }) => [dirname(from), dirname(to)])
        .filter(([from, to]) => from !== to)
        .map(([from, to]) => `${from} -> ${to}`),
    );
    const reversed = (arrow: string): string => arrow.split(' -> ').toReversed().join(' -> ');
    expect([...arrows].filter((arrow) => arrows.has(reversed(arrow)))).toEqual([]);
  });

  test.each(['core', 'dataplane'])('a folder of %s imports only from folders above it in the README', (top) => {
    const order = [...readFileSync(join(root, top, 'README.md'), 'utf8').matchAll(/^([a-z-]+) {2,}/gm)].map(
      ([, f]) => f,
    );
    const folders = readdirSync(join(root, top), { withFileTypes: true }).filter((e) => e.isDirectory());
    expect(order.toSorted()).toEqual(folders.map((e) => e.name).toSorted());
    // Files beside the folders put them together: no folder imports them.
    const floor = (path: string): number =>
      path.split('/').length === 2 ? order.length : order.indexOf(path.split('/')[1] ?? '');
    expect(importsOf(top).filter(({ from, to }) => to.startsWith(`${top}/`) && floor(to) > floor(from))).toEqual([]);
  });

  test('the plugin imports nothing of third parties', () => {
    expect(importsOf('cni-plugin').filter(({ to }) => !isRelative(to) && !to.startsWith('node:'))).toEqual([]);
  });

  test('no file has a name that says nothing', () => {
    const names = Object.keys(MAY_IMPORT).flatMap((f) =>
      readdirSync(join(root, f), { recursive: true, encoding: 'utf8' }),
    );
    expect(names.filter((n) => /(^|\/)(utils?|helpers?|common|misc)(\.ts|\/|$)/.test(n))).toEqual([]);
  });
});
