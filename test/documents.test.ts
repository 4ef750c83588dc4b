import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CASES } from './policy/cases.ts';

const root = join(import.meta.dirname, '..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

describe('docs/reference/policy-semantics.md', () => {
  const lines = [...read('docs/reference/policy-semantics.md').matchAll(/^\| (\d+) \| .* \| (.*) \|$/gm)].map(
    ([, number = '', shownBy = '']) => ({ number, shownBy }),
  );
  const cited = new Set(CASES.flatMap((c) => c.line.split(', ')));

  test('has every number that a case cites, each once, in order', () => {
    const numbers = lines.map((l) => Number(l.number));
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    expect([...cited].filter((n) => !numbers.includes(Number(n)))).toEqual([]);
  });

  test('says "cases" where a case cites the line', () => {
    const wrong = lines.filter((l) => cited.has(l.number) && l.shownBy !== 'cases').map((l) => l.number);
    expect(wrong).toEqual([]);
    const uncited = lines.filter((l) => l.shownBy === 'cases' && !cited.has(l.number)).map((l) => l.number);
    expect(uncited).toEqual([]);
  });
});

describe('docs/explanation/how-a-pod-gets-its-network.md', () => {
  const page = read('docs/explanation/how-a-pod-gets-its-network.md');
  const steps = [...page.matchAll(/^\| .* \| ([^|]*) \| `([\w/.-]+)` \|$/gm)].flatMap(([, names = '', file = '']) =>
    [...names.matchAll(/`(\w+)`/g)].map(([, name = '']) => ({ name, file })),
  );

  test('names functions that are in the files that it names', () => {
    expect(steps.length).toBeGreaterThan(15);
    const missing = steps.filter(
      ({ name, file }) => !existsSync(join(root, file)) || !new RegExp(`\\b${name}\\b`).test(read(file)),
    );
    expect(missing).toEqual([]);
  });
});

test('files that pages name in code are there', () => {
  const pages = [
    'CONTRIBUTING.md',
    'docs/explanation/how-a-pod-gets-its-network.md',
    'docs/how-to/debugging.md',
    'docs/reference/policy-semantics.md',
  ];
  const missing = pages.flatMap((page) =>
    [
      ...read(page).matchAll(
        /`((?:api|cli|cni-plugin|controller|core|dataplane|docs|hack|lab|lib|manifests|test)\/[\w/.-]*)`/g,
      ),
    ]
      .map(([, path = '']) => path)
      .filter((path) => !existsSync(join(root, path)))
      .map((path) => `${page}: ${path}`),
  );
  expect(missing).toEqual([]);
});

test('decisions have one form, and the index has each of them once', () => {
  const files = readdirSync(join(root, 'docs/adr')).filter((f) => /^\d{4}-.*\.md$/.test(f));
  const index = [...read('docs/adr/README.md').matchAll(/^\| (\d+) \| \[(.*)\]\((.*)\) \|$/gm)];
  expect(index.map(([, , , file]) => file)).toEqual(files.sort());
  const parts = ['Context', 'Decision', 'Consequences', 'Not chosen'];
  for (const [, number, title, file = ''] of index) {
    const text = read(`docs/adr/${file}`);
    expect([file, text.split('\n')[0]]).toEqual([file, `# ${number}. ${title}`]);
    const headings = [...text.matchAll(/^## (.*)$/gm)].map(([, h]) => h ?? '');
    expect([file, headings.slice(0, 2)]).toEqual([file, parts.slice(0, 2)]);
    expect([file, headings.filter((h) => !parts.includes(h) && h !== 'Not covered')]).toEqual([file, []]);
  }
});
