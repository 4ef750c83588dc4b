import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import type { Raw } from '../read/objects.ts';
import { stateOfManifests } from '../view/from-manifests.ts';
import { viewOf } from '../view/view.ts';
import { LINT_CODES, type LintCode } from './codes.ts';
import { lint } from './lint.ts';
import { LINT_PAGES, PAGE_WORLD } from './pages.ts';

const read = (text: string): Raw[] => parseAllDocuments(text).map((d) => d.toJS() as Raw);
const codesOf = (text: string): LintCode[] => {
  const objects = read(`${PAGE_WORLD}---\n${text}`);
  return lint(viewOf(stateOfManifests(objects)), { others: objects }).map((f) => f.code);
};

describe('the page of each code', () => {
  test('every code has one, and no other has', () => {
    expect(Object.keys(LINT_PAGES).sort()).toEqual(Object.keys(LINT_CODES).sort());
  });

  test('docs/reference/lint.md has a section for each, and no other', () => {
    const text = readFileSync(new URL('../../docs/reference/lint.md', import.meta.url), 'utf8');
    expect([...text.matchAll(/^## (.*)$/gm)].map(([, code]) => code)).toEqual(Object.keys(LINT_PAGES));
    expect([...text.matchAll(/^\| \[(\w+)\]\(#(\w+)\)/gm)].map(([, code]) => code)).toEqual(Object.keys(LINT_PAGES));
  });

  test.each(Object.entries(LINT_PAGES))('%s: its example has it, its cure has not', (code, { example, cure }) => {
    expect(codesOf(example)).toContain(code);
    expect(codesOf(cure)).not.toContain(code);
    expect(codesOf(cure).filter((c) => LINT_CODES[c].severity !== 'info')).toEqual([]);
  });
});
