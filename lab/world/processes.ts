import { spawn } from 'node:child_process';
import { mkdirSync, openSync, closeSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { labDir } from './plan.ts';
import { systemClock } from '../../lib/reconcile/clock.ts';

/** A process that a lab started. `startTime` (clock ticks since boot) tells it from a later one with the same id. */
export type LabProcess = { readonly role: string; readonly pid: number; readonly startTime: string };

const pidDir = (lab: string): string => `${labDir(lab)}/pid`;
export const logPath = (lab: string, role: string): string => `${labDir(lab)}/log/${role}.log`;

/** Starts a program in the background, its output in the lab's log folder. */
export function startProcess(lab: string, role: string, argv: readonly [string, ...string[]]): LabProcess {
  mkdirSync(pidDir(lab), { recursive: true });
  mkdirSync(`${labDir(lab)}/log`, { recursive: true });
  const log = openSync(logPath(lab, role), 'a');
  const [command, ...args] = argv;
  // A lab's installation is in kube-system, wherever the cluster of the user has its own.
  const { BULKHEAD_NAMESPACE: _elsewhere, ...env } = globalThis.process.env;
  const child = spawn(command, args, { stdio: ['ignore', log, log], detached: true, cwd: '/', env });
  closeSync(log);
  const { pid } = child;
  if (pid === undefined) throw new Error(`${command} could not be started`);
  child.on('error', () => undefined);
  child.unref();
  const process = { role, pid, startTime: startTimeOf(pid) ?? '' };
  writeFileSync(`${pidDir(lab)}/${role}.json`, JSON.stringify(process));
  return process;
}

/** All processes that a lab has started and not ended, alive or not. */
export function listProcesses(lab: string): LabProcess[] {
  let names: string[];
  try {
    names = readdirSync(pidDir(lab));
  } catch {
    return [];
  }
  return names.flatMap((n) => {
    try {
      return [JSON.parse(readFileSync(`${pidDir(lab)}/${n}`, 'utf8')) as LabProcess];
    } catch {
      return []; // written by halves: the process never began
    }
  });
}

export const isAlive = (p: LabProcess): boolean => startTimeOf(p.pid) === p.startTime && p.startTime !== '';

/** Ends processes: asked first, and killed after `graceMs`. Only by id, and only when it is still the same process. */
export async function endProcesses(lab: string, processes: readonly LabProcess[], graceMs: number): Promise<void> {
  for (const p of processes) if (isAlive(p)) process.kill(p.pid, graceMs > 0 ? 'SIGTERM' : 'SIGKILL');
  const deadline = systemClock.now() + graceMs;
  while (systemClock.now() < deadline && processes.some(isAlive)) await systemClock.sleep(20);
  for (const p of processes) if (isAlive(p)) process.kill(p.pid, 'SIGKILL');
  while (processes.some(isAlive)) await systemClock.sleep(5);
  for (const p of processes) rmSync(`${pidDir(lab)}/${p.role}.json`, { force: true });
}

/** Field 22 of /proc/PID/stat; undefined when there is no such process, or it is a zombie. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
