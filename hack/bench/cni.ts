import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { median, quantile } from './statistics.ts';

/** A plugin as it is called: program, configuration, and what stands before the program (entering a node). */
export type Plugin = {
  readonly name: string;
  readonly program: string;
  readonly config: object;
  readonly enter: readonly string[];
  readonly args: (i: number) => string;
};

export type CniFigures = {
  readonly name: string;
  readonly callers: number;
  readonly add: Quantiles;
  readonly del: Quantiles;
  readonly addsPerSecond: number;
};
export type Quantiles = { readonly p50: number; readonly p99: number };

/** One call; milliseconds from the start of the process to its end. Throws with what the plugin printed. */
async function call(plugin: Plugin, command: string, i: number, netns: string): Promise<number> {
  const env = {
    PATH: process.env['PATH'],
    CNI_COMMAND: command,
    CNI_CONTAINERID: `bench-${i}`,
    CNI_NETNS: netns,
    CNI_IFNAME: 'eth0',
    CNI_PATH: '/usr/lib/cni',
    CNI_ARGS: plugin.args(i),
  };
  const [program, ...args] = plugin.enter.length > 0 ? [...plugin.enter, plugin.program] : [plugin.program];
  const began = performance.now();
  const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (d: Buffer) => (out += d.toString()));
  child.stdin.end(JSON.stringify(plugin.config));
  const [code] = (await once(child, 'close')) as [number];
  if (code !== 0) throw new Error(`${plugin.name} ${command}: ${out}`);
  return performance.now() - began;
}

/** ADD for every namespace with some callers at a time, then DEL for every one. */
export async function measurePlugin(plugin: Plugin, netns: readonly string[], callers: number): Promise<CniFigures> {
  const run = async (command: string): Promise<{ times: number[]; seconds: number }> => {
    const times: number[] = [];
    let next = 0;
    const began = performance.now();
    await Promise.all(
      Array.from({ length: callers }, async () => {
        for (let i = next++; i < netns.length; i = next++) times.push(await call(plugin, command, i, netns[i] ?? ''));
      }),
    );
    return { times, seconds: (performance.now() - began) / 1000 };
  };
  const add = await run('ADD');
  const del = await run('DEL');
  const q = (t: readonly number[]): Quantiles => ({ p50: median(t), p99: quantile(t, 0.99) });
  return {
    name: plugin.name,
    callers,
    add: q(add.times),
    del: q(del.times),
    addsPerSecond: netns.length / add.seconds,
  };
}
