import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gatherManifests, readManifests } from './read.ts';

const base = mkdtempSync(join(tmpdir(), 'bulkhead-'));
let folder = base;
let count = 0;
beforeEach(() => {
  folder = join(base, String(count++));
  mkdirSync(folder);
});
afterAll(() => rmSync(base, { recursive: true }));

const write = (files: Readonly<Record<string, string | Uint8Array>>): void => {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
};
const pod = (name: string): string => `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\n`;
const read = async (...paths: string[]): Promise<{ names: string[]; skipped: readonly string[] }> => {
  const { objects, skipped } = await gatherManifests(paths.map((p) => join(folder, p)));
  const short = (text: string): string => text.replace(`${folder}/`, '');
  return {
    names: objects.map(({ object, at }) => `${(object['metadata'] as { name: string }).name} ${short(at)}`),
    skipped: skipped.map(short),
  };
};
const problems = async (...paths: string[]): Promise<string> =>
  read(...paths).then(
    () => '',
    (error: Error) => error.message,
  );

describe('what is read', () => {
  test('every object with its place; what is no manifest is skipped and told', async () => {
    write({
      'a.yaml': `# c\n---\n${pod('a')}---\n# nothing\n`,
      'sub/list.yml': 'apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: b}\n- metadata: {name: c}\n',
      'values.yaml': 'image: x\n',
      'package.json': '{"name": "x"}',
      'tsconfig.json': '{ // no JSON\n}',
      '.github/workflows/ci.yaml': 'on: push\njobs: {}\n',
      'Chart.yaml': 'apiVersion: v2\nname: x\n',
      'only-comments.yaml': '# nothing\n---\n',
      'empty.yaml': '',
      'node_modules/x/pod.yaml': pod('not-mine'),
      'README.md': pod('not-yaml'),
    });
    expect(await read('.')).toEqual({
      names: ['a a.yaml:3', 'b sub/list.yml:4', 'c sub/list.yml:5'],
      skipped: ['.github/workflows/ci.yaml', 'Chart.yaml:1', 'package.json', 'tsconfig.json', 'values.yaml'],
    });
  });

  test('an object whose apiVersion or kind was forgotten is no other file: it is an error', async () => {
    write({
      'a.yaml': 'kind: NetworkPolicy\nmetadata: {name: a}\nspec: {}\n',
      'b.json': '{\n  "kind": "Pod",\n  "metadata": {"name": "b"}\n}\n',
      'c.yaml': 'apiVersion: v1\nmetadata: {name: c}\n',
      'values.yaml': 'kind: DaemonSet\nimage: x\n',
    });
    expect((await problems('.')).match(/[abc]\.\w+:1: an object without apiVersion and kind/g)).toHaveLength(3);
    rmSync(join(folder, 'a.yaml'));
    rmSync(join(folder, 'b.json'));
    rmSync(join(folder, 'c.yaml'));
    expect((await read('.')).skipped).toEqual(['values.yaml']);
  });

  test('a file that is named, or found twice, is read once', async () => {
    write({ 'a.yaml': pod('a') });
    expect((await read('a.yaml', '.', 'a.yaml')).names).toEqual(['a a.yaml:1']);
  });

  test('UTF-16, as PowerShell writes it', async () => {
    write({ 'a.yaml': Buffer.from(`\ufeff${pod('a')}`, 'utf16le') });
    expect((await read('.')).names).toEqual(['a a.yaml:1']);
  });

  test('standard input', async () => {
    const { objects } = await gatherManifests(['-'], { stdin: () => Promise.resolve(Buffer.from(pod('a'))) });
    expect(objects.map(({ at }) => at)).toEqual(['standard input:1']);
  });

  test('nothing is written to standard error, whatever a file holds', async () => {
    const emitted = vi.spyOn(process, 'emitWarning');
    write({ 'a.yaml': `${pod('a')}spec: {? {a: b} : c}\n` });
    expect(await problems('.')).toMatch(/a.yaml:4: a key that is a map/);
    expect(emitted).not.toHaveBeenCalled();
    emitted.mockRestore();
  });
});

describe('all problems at once, each with file and line', () => {
  test.each<[name: string, files: Readonly<Record<string, string | Uint8Array>>, path: string, problem: RegExp]>([
    [
      'a named file that is no manifest',
      { 'v.yaml': 'a: b' },
      'v.yaml',
      /v.yaml:1: an object without apiVersion and kind/,
    ],
    ['a misspelt field', { 'p.yaml': 'apiVersion: v1\nKind: Pod\nmetadata: {}' }, '.', /without apiVersion and kind/],
    ['a named kustomization', { 'kustomization.yaml': 'resources: []' }, 'kustomization.yaml', /folder with -k/],
    [
      'a template of a chart',
      { 'Chart.yaml': 'name: x', 'templates/a/b.yaml': 'apiVersion: v1\n{{- if .x }}\nkind: Pod\n{{- end }}\n' },
      '.',
      /b.yaml:\d+: .*helm template/,
    ],
    ['bytes', { 'a.yaml': Buffer.from([0x61, 0xff, 0xfe, 0xc0]) }, '.', /neither UTF-8 nor UTF-16/],
    ['aliases that multiply', { 'bomb.yaml': bomb() }, '.', /bomb.yaml:\d+: Excessive alias count/],
    ['no such file', {}, 'x.yaml', /x.yaml: no such file or folder/],
  ])('%s', async (_, files, path, problem) => {
    write({ ...files, 'broken.yaml': 'apiVersion: {' });
    expect(await problems(path, 'broken.yaml')).toMatch(problem);
    expect(await problems(path, 'broken.yaml')).toMatch(/broken.yaml:1: /);
  });

  test('readManifests has them too', () => {
    write({ 'a.yaml': 'a: b', 'b.yaml': 'apiVersion: {' });
    expect(() => readManifests(folder)).toThrow(/a.yaml:1: .*\n.*b.yaml:1: /);
  });
});

function bomb(): string {
  const lines = ['apiVersion: v1', 'a: &a [x,x,x,x,x,x,x,x,x,x]'];
  for (const [last, next] of ['ab', 'bc', 'cd', 'de', 'ef', 'fg', 'gh'])
    lines.push(`${next}: &${next} [${Array.from({ length: 10 }, () => `*${last}`).join(',')}]`);
  return lines.join('\n');
}

describe('kustomizations', () => {
  const deployment = 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 1}\n';
  const overlay = (image: string): string =>
    `resources: [../../base]\npatches:\n- patch: |\n    {apiVersion: apps/v1, kind: Deployment, metadata: {name: web, labels: {env: ${image}}}}\n`;
  const files = {
    'base/kustomization.yaml': 'resources: [web.yaml]\n',
    'base/web.yaml': deployment,
    'base/not-used.yaml': deployment,
    'overlays/prod/kustomization.yml': overlay('prod'),
  };

  test('a folder that has one is built', async () => {
    write(files);
    const { objects } = await gatherManifests([join(folder, 'overlays/prod')]);
    expect(objects.map(({ object }) => object['metadata'])).toEqual([{ labels: { env: 'prod' }, name: 'web' }]);
    const named = await gatherManifests([], { kustomize: [join(folder, 'overlays/prod')] });
    expect(named.objects.map(({ object }) => object)).toEqual(objects.map(({ object }) => object));
  });

  test('in a folder of several, those that no other takes in are built, and plain files are read', async () => {
    write({ ...files, 'more/pod.yaml': pod('a'), 'part/kustomization.yaml': 'kind: Component\nresources: [x.yaml]\n' });
    expect((await read('.')).names).toEqual(['a more/pod.yaml:1', 'web overlays/prod (kustomize):1']);
  });

  test('another kind in a file of that name is an object', async () => {
    write({
      'kustomization.yaml':
        'apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\nspec: {path: ./x}\n',
    });
    expect((await read('.')).names).toEqual(['apps kustomization.yaml:1']);
  });

  test("kustomize's own words when it fails", async () => {
    write({ 'kustomization.yaml': 'resources: [gone.yaml]\n' });
    expect(await problems('.')).toMatch(/kubectl kustomize: .*gone.yaml/s);
  });

  test('without kubectl the message says what to do', async () => {
    write(files);
    vi.stubEnv('PATH', folder);
    await expect(gatherManifests([join(folder, 'base')])).rejects.toThrow(/no kubectl here: install it/);
    vi.unstubAllEnvs();
  });
});
