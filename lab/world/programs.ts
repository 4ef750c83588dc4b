import { systemClock } from '../../lib/reconcile/clock.ts';
import { LabError, labSpec, startAgent, startController } from './lab.ts';
import { nodeNames } from './plan.ts';
import { endProcesses, isAlive, type LabProcess, listProcesses } from './processes.ts';

/** Programs of Bulkhead that a lab can do without for a while: the controller, and the agent of each node. */
const ROLES = /^(controller|agent-(n\d+))$/;

/** Ends one program, as a crash or an upgrade does. It stays in the lab's list, as not alive. */
export async function stopProgram(lab: string, role: string): Promise<void> {
  const process_ = programOf(lab, role);
  if (!isAlive(process_)) return;
  process.kill(process_.pid, 'SIGTERM');
  while (isAlive(process_)) await systemClock.sleep(20);
}

/** Starts a program again that was stopped or has died. No error when it runs. */
export async function startProgram(lab: string, role: string): Promise<void> {
  const process_ = programOf(lab, role);
  if (isAlive(process_)) return;
  await endProcesses(lab, [process_], 0);
  const [, , node] = ROLES.exec(role) ?? [];
  if (node === undefined) startController(labSpec(lab));
  else startAgent(labSpec(lab), node);
}

function programOf(lab: string, role: string): LabProcess {
  const spec = labSpec(lab);
  const found = ROLES.test(role) ? listProcesses(lab).find((p) => p.role === role) : undefined;
  if (found) return found;
  const known = ['controller', ...nodeNames(spec.nodes).map((n) => `agent-${n}`)];
  throw new LabError('Invalid', `${role}: a lab stops and starts one of ${known.join(', ')}`);
}
