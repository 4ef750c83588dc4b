import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { policyManifests } from './policy-manifests.ts';
import { median } from './statistics.ts';

/**
 * What `policy lint` and `explain` cost on manifests of a large company, for docs/benchmarks-policy-tools.md. With `--base FOLDER` a
 * checkout of an earlier version is measured in turn with this one.
 */

const checkout = join(import.meta.dirname, '../..');
const at = process.argv.indexOf('--base');
const base = at < 0 ? undefined : process.argv[at + 1];
const ROUNDS = process.argv.includes('--quick') ? 1 : 3;
const SIZES = [10, 50];
const scratch = mkdtempSync(join(tmpdir(), 'bulkhead-bench-'));

const COMMANDS: Readonly<Record<string, (folder: string) => string[]>> = {
  'policy lint': (folder) => ['policy', 'lint', '-f', folder],
  'explain FROM TO': (folder) => ['explain', 'team-0/app-0', 'team-1/app-1:8001', '-f', folder],
  'explain --all': (folder) => ['explain', '--all', '-f', folder],
};

type Figures = { readonly cpu: number; readonly wall: number; readonly memory: number };

/** Written to standard error by the program itself when it ends. */
const REPORT = `process.on("exit",()=>{const r=process.resourceUsage();require("fs").writeSync(2,"\\n"+JSON.stringify({cpu:(r.userCPUTime+r.systemCPUTime)/1e6,wall:performance.now()/1e3,memory:r.maxRSS/1024})+"\\n")})`;

try {
  const rows: string[] = [];
  for (const namespaces of SIZES) {
    const folder = join(scratch, String(namespaces));
    write(folder, namespaces);
    for (const [name, words] of Object.entries(COMMANDS)) {
      const programs = [checkout, ...(base === undefined ? [] : [base])];
      const rounds = new Map(programs.map((p) => [p, [] as Figures[]]));
      // In turn, so that both meet the same machine.
      for (let round = 0; round < ROUNDS; round++)
        for (const program of programs) rounds.get(program)?.push(await measure(program, words(folder)));
      const text = programs.map((p) => describe(rounds.get(p) ?? [])).join(' | ');
      rows.push(`| ${namespaces * 100} objects | ${name} | ${text} |`);
      process.stderr.write(`${rows.at(-1)}\n`);
    }
  }
  writeFileSync(join(checkout, 'docs/benchmarks-policy-tools.md'), document(rows));
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

function write(folder: string, namespaces: number): void {
  mkdirSync(folder);
  const all = policyManifests(namespaces);
  for (let i = 0; i < all.length; i += 100)
    writeFileSync(
      join(folder, `${i / 100}.yaml`),
      all
        .slice(i, i + 100)
        .map((o) => stringify(o))
        .join('---\n'),
    );
}

async function measure(program: string, words: readonly string[]): Promise<Figures> {
  const report = `data:text/javascript,import{createRequire}from"node:module";const require=createRequire("/");${encodeURIComponent(REPORT)}`;
  const run = promisify(execFile)(
    process.execPath,
    ['--import', report, join(program, 'dist/bulkhead.mjs'), ...words],
    { maxBuffer: 1 << 30 },
  );
  // A verdict is an exit code, too.
  const { stderr } = await run.catch((error: unknown) => error as { stderr: string });
  return JSON.parse(stderr.trim().split('\n').at(-1) ?? '') as Figures;
}

function describe(rounds: readonly Figures[]): string {
  const [cpu, wall, memory] = (['cpu', 'wall', 'memory'] as const).map((key) => median(rounds.map((r) => r[key])));
  return `${cpu?.toFixed(1)} s, ${wall?.toFixed(1)} s, ${memory?.toFixed(0)} MB`;
}

function document(rows: readonly string[]): string {
  const heads = ['this version', ...(base === undefined ? [] : ['before'])].map((v) => `${v}: CPU, wall, memory`);
  return `# Policy tools: benchmarks

\`make bench-policy-tools\` on ${cpus().length} cores, Linux ${release()}: medians of rounds (${ROUNDS}), the versions in turn. Other
programs ran on the machine, so CPU time says more than the time by the clock. The memory is the largest that the process
had, with that of Node.js. The manifests are those of hack/bench/policy-manifests.ts: namespaces of 50 Deployments and 49
NetworkPolicies. Aims: 5 000 objects linted in 5 s, and all their 6.3 million pairs explained in 10 s, within 400 MB.

| | | ${heads.join(' | ')} |
|---|---|${heads.map(() => '---|').join('')}
${rows.join('\n')}

How the work grows is counted, not timed, in test/policy-work.test.ts: four times the input is at most some more than four
times the work.
`;
}
