import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ERROR_CODES } from '../api/codes.ts';
import { crdFiles } from '../hack/crd.ts';

const root = join(import.meta.dirname, '..');
/** Folders and files whose texts users and newcomers read. */
const PRODUCT = [
  'api',
  'core',
  'dataplane',
  'controller',
  'cni-plugin',
  'cli',
  'lib',
  'lab',
  'hack',
  'manifests',
  'docs',
  'examples',
  'README.md',
  'CONTRIBUTING.md',
];
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

describe('documents are true', () => {
  test('docs/reference/errors.md explains every code, and no other', () => {
    const explained = [...read('docs/reference/errors.md').matchAll(/^\| `([A-Za-z]+)` \|/gm)]
      .map(([, code]) => code ?? '')
      .sort();
    expect(explained).toEqual([...new Set(Object.values(ERROR_CODES).flat())].sort());
  });

  test('links between documents lead somewhere', () => {
    const files = execFileSync('git', ['ls-files', '*.md'], { cwd: root, encoding: 'utf8' }).trim().split('\n');
    const broken = files.flatMap((file) =>
      [...read(file).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)]
        .map(([, to = '']) => to)
        .filter((to) => !existsSync(join(root, dirname(file), to)))
        .map((to) => `${file}: ${to}`),
    );
    expect(broken).toEqual([]);
  });

  test('tests that documents name are there', () => {
    const files = execFileSync('git', ['ls-files', 'docs/*.md', '*.md'], { cwd: root, encoding: 'utf8' })
      .trim()
      .split('\n');
    const missing = files.flatMap((file) =>
      [...read(file).matchAll(/`(test\/[\w/.-]+\.ts)`/g)]
        .map(([, path = '']) => path)
        .filter((path) => !existsSync(join(root, path)))
        .map((path) => `${file}: ${path}`),
    );
    expect(missing).toEqual([]);
  });

  test('every attack has its line in the threat model', () => {
    const model = read('docs/threat-model.md');
    const attacks = readdirSync(join(root, 'test/attacks')).filter((f) => f.endsWith('.test.ts'));
    expect(attacks.filter((f) => !model.includes(`test/attacks/${f}`))).toEqual([]);
  });

  test('lines of prose have at most 120 columns', () => {
    const files = execFileSync('git', ['ls-files', '*.md'], { cwd: root, encoding: 'utf8' }).trim().split('\n');
    const written = files.filter((f) => !/^docs\/(benchmarks|conformance)|^CHANGELOG/.test(f)); // the rest is made by programs
    const long = written.flatMap((file) =>
      read(file)
        .replaceAll(/^ *```[\s\S]*?^ *```$/gm, (block) => '\n'.repeat(block.split('\n').length - 1))
        .split('\n')
        .flatMap((line, i) =>
          line.length > 120 && !/^\||^ *<|\S{100}/.test(line) ? [`${file}:${i + 1}: ${line.length} columns`] : [],
        ),
    );
    expect(long).toEqual([]);
  });

  test('packages that we depend on have licences that allow it', () => {
    const { dependencies = {} } = JSON.parse(read('package.json')) as { dependencies?: Record<string, string> };
    const licences = Object.keys(dependencies).map((name) => {
      const { license } = JSON.parse(read(`node_modules/${name}/package.json`)) as { license?: string };
      return [name, license ?? 'none'] as const;
    });
    const allowed = ['MIT', 'ISC', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD'];
    expect(licences.length).toBeGreaterThan(0);
    expect(licences.filter(([, licence]) => !allowed.includes(licence))).toEqual([]);
  });

  test('texts of the product use no word that the glossary replaces', () => {
    const words = [...read('docs/glossary.md').matchAll(/^\|[^|]+\|[^|]+\| ([^|]+) \|$/gm)].flatMap(([, not = '']) =>
      not.split(', '),
    );
    expect(words).toContain('given block');
    const pattern = new RegExp(`\\b(${words.filter((w) => w !== 'not' && w !== '---').join('|')})\\b`, 'i');
    const files = execFileSync('git', ['ls-files', ...PRODUCT], { cwd: root, encoding: 'utf8' })
      .trim()
      .split('\n');
    const found = files
      .filter((f) => /\.(ts|md|sh|yaml)$/.test(f) && !f.endsWith('.test.ts') && f !== 'docs/glossary.md')
      .flatMap((f) =>
        read(f)
          .split('\n')
          .flatMap((line, i) => (pattern.test(line) ? [`${f}:${i + 1}: ${line.trim()}`] : [])),
      );
    expect(found).toEqual([]);
  });

  test('every folder of code begins with a README', () => {
    const folders = [
      'api',
      'core',
      'controller',
      'dataplane',
      'cni-plugin',
      'lab',
      'cli',
      'lib/ip',
      'lib/kube',
      'lib/netlink',
      'lib/netns',
      'lib/nft',
      'lib/reconcile',
      'lib/servicenat',
      'dataplane/plan',
      'dataplane/apply',
      'dataplane/attach',
      'dataplane/egress',
      'lab/apiserver',
      'lab/kube',
      'lab/node',
    ];
    expect(folders.filter((f) => !existsSync(join(root, f, 'README.md')))).toEqual([]);
  });

  test('the installation has every kind', () => {
    const kinds = [...read('manifests/install.yaml').matchAll(/^kind: CustomResourceDefinition\n/gm)];
    expect(kinds).toHaveLength(crdFiles().length);
  });

  test('words of make that the README uses are there', () => {
    const words = [...read('README.md').matchAll(/\bmake ([a-z]+)/g)].map(([, w]) => w ?? '');
    for (const word of words) expect(read('Makefile')).toMatch(new RegExp(`^${word}:`, 'm'));
  });

  test('CRDs in manifests/crds are those of the kinds, structural, with columns, short names and rules', () => {
    expect(readdirSync(join(root, 'manifests/crds')).sort()).toEqual(
      crdFiles()
        .map((f) => f.file)
        .sort(),
    );
    for (const { file, text } of crdFiles()) {
      expect(read(`manifests/crds/${file}`)).toBe(text);
      expect(text).not.toMatch(/additionalProperties: false|oneOf|anyOf|\$ref/);
      for (const part of ['additionalPrinterColumns', 'shortNames', 'x-kubernetes-validations'])
        expect(text).toContain(part);
    }
  });
});
