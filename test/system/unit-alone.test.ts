import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { exec } from '../../lib/exec/exec.ts';
import { checkout } from './lab.ts';

// `make unit` as a newcomer runs it: a fresh clone, a user without rights, and of this machine's programs only npm, git and a shell.
// The packages come by npm, as they do for the newcomer.

const NOBODY = '65534';
const PROGRAMS = ['sh', 'env', 'git', 'make', 'npm', 'node', 'dirname', 'touch', 'readlink', 'awk'];

/** Without the programs of this checkout's own packages, which a newcomer does not have yet. */
const machine = {
  ...process.env,
  PATH: (process.env['PATH'] ?? '')
    .split(':')
    .filter((folder) => !folder.includes('node_modules'))
    .join(':'),
};

const home = mkdtempSync(join(tmpdir(), 'bulkhead-unit-'));
afterAll(() => rmSync(home, { recursive: true }));

test('make unit needs npm and nothing else', async () => {
  const bin = join(home, 'bin');
  mkdirSync(bin);
  for (const program of PROGRAMS) {
    const path = execFileSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8', env: machine }).trim();
    symlinkSync(path, join(bin, program));
  }
  await exec(['git', 'clone', '-q', checkout, join(home, 'clone')]);
  // What is not committed yet is judged as well.
  const changed = execFileSync('git', ['diff', '--binary', 'HEAD'], { cwd: checkout });
  if (changed.length > 0) await exec(['git', '-C', join(home, 'clone'), 'apply', '-'], { input: changed });
  chmodSync(home, 0o755);
  await exec(['chown', '-R', `${NOBODY}:${NOBODY}`, home]);
  const run = (line: string): ReturnType<typeof exec> =>
    exec(
      [
        'setpriv',
        `--reuid=${NOBODY}`,
        `--regid=${NOBODY}`,
        '--clear-groups',
        'env',
        '-i',
        `HOME=${home}`,
        `PATH=${bin}`,
      ].concat('NO_COLOR=1', 'sh', '-c', `cd ${join(home, 'clone')} && ${line}`) as [string, ...string[]],
      { timeoutMs: 500_000 },
    );
  for (const tool of ['nft', 'ip', 'conntrack', 'nsenter', 'mount', 'apt-get'])
    await expect(run(`command -v ${tool}`)).rejects.toThrow();
  // All of them take minutes: some from every floor, those that start programs or read files of the machine first.
  const { stdout } = await run(
    `make unit ARGS='test/make test/imports test/docs lib/exec lib/nft lib/process core/cluster cli cni-plugin'`,
  );
  expect(stdout).toMatch(/Tests +\d+ passed/);
  expect(stdout).not.toContain('failed');
}, 600_000);
