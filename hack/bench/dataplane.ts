import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { exec } from '../../lib/exec/exec.ts';
import { median } from './statistics.ts';

const PINGPONG = join(import.meta.dirname, 'pingpong.ts');
const PORT = 7007;

/** A way between two namespaces; `address` is where the far one is reached. */
export type Path = { readonly name: string; readonly from: string; readonly to: string; readonly address: string };

export type PathFigures = { readonly name: string; readonly halfRttUs: number; readonly gbps: number };

/** Measures all paths in turn, `rounds` times, and gives the median of each. */
export async function measurePaths(
  paths: readonly Path[],
  rounds: number,
  progress: (text: string) => void,
): Promise<PathFigures[]> {
  const servers = await Promise.all([...new Set(paths.map((p) => p.to))].map(serve));
  const rtt = paths.map((): number[] => []);
  const gbps = paths.map((): number[] => []);
  try {
    for (let round = 0; round < rounds; round++) {
      for (const [i, p] of paths.entries()) {
        progress(`data plane, round ${round + 1} of ${rounds}: ${p.name}`);
        rtt[i]?.push((await client<{ p50: number }>(p.from, 'ping', p.address, '4000')).p50);
        gbps[i]?.push((await client<{ gbps: number }>(p.from, 'stream', p.address, '700')).gbps);
      }
    }
  } finally {
    for (const s of servers) s.kill();
  }
  return paths.map((p, i) => ({ name: p.name, halfRttUs: median(rtt[i] ?? []), gbps: median(gbps[i] ?? []) }));
}

async function serve(netns: string): Promise<{ kill: () => void }> {
  const child = spawn('nsenter', [`--net=${netns}`, process.execPath, PINGPONG, 'serve', String(PORT)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise<void>((resolve) => child.stdout.once('data', () => resolve()));
  return { kill: () => child.kill('SIGKILL') };
}

async function client<T>(netns: string, mode: string, host: string, amount: string): Promise<T> {
  const { stdout } = await exec([
    'nsenter',
    `--net=${netns}`,
    process.execPath,
    PINGPONG,
    mode,
    host,
    String(PORT),
    amount,
  ]);
  return JSON.parse(stdout) as T;
}
