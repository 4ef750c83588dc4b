import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { changelogProblems, cutChangelog } from './changelog.ts';

const TEXT = '# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A.\n\n## [0.1.0] - 2026-11-24\n\n### Added\n\n- B.\n';

test('what is unreleased gets a version and a date, and what comes next begins empty', () => {
  const cut = cutChangelog(TEXT, '0.2.0', '2026-11-26');
  expect(cut).toBe(
    '# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-11-26\n\n### Added\n\n- A.\n\n## [0.1.0] - 2026-11-24\n\n### Added\n\n- B.\n',
  );
  expect(changelogProblems(cut)).toEqual([]);
  expect(() => cutChangelog(cut, '0.2.0', '2026-11-26')).toThrow(/already/);
  expect(() => cutChangelog(cut, '0.3.0', '2026-11-26')).toThrow(/nothing/);
  expect(cutChangelog('# Changelog\n\n## [Unreleased]\n\n- A.\n', '0.1.0', '2026-11-26')).toContain(
    '## [0.1.0] - 2026-11-26\n\n- A.\n',
  );
});

test('sections that are not dated, not in order or of an unknown kind are named', () => {
  expect(changelogProblems('## Unreleased\n## 0.1.0\n### News\n')).toHaveLength(3);
  expect(changelogProblems('## [Unreleased]\n## [0.1.0] - 2026-01-01\n## [0.0.9] - 2026-01-02\n')).toHaveLength(1);
});

test('CHANGELOG.md keeps the form', () => {
  expect(changelogProblems(readFileSync(join(import.meta.dirname, '../../CHANGELOG.md'), 'utf8'))).toEqual([]);
});
