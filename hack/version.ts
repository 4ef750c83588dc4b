import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The version of what is built here: the package's version at its own tag `v<version>`, else with a suffix that says how far behind the
 * last tag and from which commit ("0.1.0-dev.12.gf4fc283", then ".dirty" when files differ). SemVer, and a tag of an image.
 */
export function programVersion(root: string): string {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const described = git(root, 'describe', '--tags', '--long', '--dirty', '--match', `v${version}`);
  const commits = git(root, 'rev-list', '--count', 'HEAD');
  if (commits === undefined) return version;
  const [, since = commits, hash = git(root, 'rev-parse', '--short', 'HEAD') ?? '', dirty = ''] =
    /-(\d+)-g([0-9a-f]+)(-dirty)?$/.exec(described ?? '') ?? [];
  const isDirty = dirty !== '' || (described === undefined && git(root, 'status', '--porcelain') !== '');
  if (described !== undefined && since === '0' && !isDirty) return version;
  return `${version}-dev.${since}.g${hash}${isDirty ? '.dirty' : ''}`;
}

function git(root: string, ...args: string[]): string | undefined {
  try {
    return execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined;
  }
}
