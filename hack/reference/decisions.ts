import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** docs/adr/README.md: every decision by number, from the first line of its page. */
export function decisionIndex(dir: string): string {
  const rows = readdirSync(dir)
    .filter((file) => /^\d{4}-.*\.md$/.test(file))
    .sort()
    .map((file) => {
      const [, number = '', title = ''] = /^# (\d+)\. (.*)$/m.exec(readFileSync(join(dir, file), 'utf8')) ?? [];
      return `| ${number} | [${title}](${file}) |`;
    });
  return `# Decisions

<!-- The table is written by hack/generate.ts from the first line of each page. -->

A decision that others would question has a page here: what was the situation, what is done, and why not otherwise. It
is not changed later, but for names of files; a new decision says which one it replaces. To write one, copy the
[template](template.md), take the next number, and run \`make generate\`.

| no. | decision |
|---|---|
${rows.join('\n')}
`;
}
