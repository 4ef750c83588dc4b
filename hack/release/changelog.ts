/** The changelog with what was unreleased under a version and its date, and an empty "Unreleased" above it. */
export function cutChangelog(text: string, version: string, date: string): string {
  if (text.includes(`\n## [${version}]`)) throw new Error(`CHANGELOG.md has a section ${version} already`);
  const [, before = '', unreleased = '', after = ''] =
    /^([\s\S]*?\n)## \[Unreleased\]\n([\s\S]*?)((?:\n## \[[\s\S]*)?)$/.exec(text) ?? [];
  if (unreleased.trim() === '') throw new Error('CHANGELOG.md: nothing stands under "## [Unreleased]"');
  return `${before}## [Unreleased]\n\n## [${version}] - ${date}\n${unreleased.trimEnd()}\n${after}`;
}

/** Headings that are not as keepachangelog.com has them: "[Unreleased]" first, then versions with dates, newest first. */
export function changelogProblems(text: string): string[] {
  const headings = [...text.matchAll(/^## (.*)$/gm)].map(([, heading = '']) => heading);
  const problems = headings[0] === '[Unreleased]' ? [] : ['the first section is not "## [Unreleased]"'];
  let last = '9999-99-99';
  for (const heading of headings.slice(1)) {
    const [, date] = /^\[\d+\.\d+\.\d+\] - (\d{4}-\d{2}-\d{2})$/.exec(heading) ?? [];
    if (date === undefined) problems.push(`"## ${heading}" is not "## [1.2.3] - 2026-01-31"`);
    else if (date > last) problems.push(`"## ${heading}" is later than the section above it`);
    last = date ?? last;
  }
  for (const [, kind = ''] of text.matchAll(/^### (.*)$/gm))
    if (!KINDS.includes(kind)) problems.push(`"### ${kind}" is none of ${KINDS.join(', ')}`);
  return problems;
}

const KINDS = ['Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security'];
