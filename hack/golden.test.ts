import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { goldenFiles } from './golden.ts';

// The texts of dataplane/plan/golden are what the code plans now. After a change that is meant: `make generate`, and read the difference.

const folder = join(import.meta.dirname, '../dataplane/plan/golden');

test.each(goldenFiles())('$file', ({ file, text }) => {
  expect(text).toBe(readFileSync(join(folder, file), 'utf8'));
});

test('every text in the folder belongs to a state', () => {
  const there = readdirSync(folder).filter((f) => f.endsWith('.nft'));
  expect(there.sort()).toEqual(
    goldenFiles()
      .map((g) => g.file)
      .sort(),
  );
});
