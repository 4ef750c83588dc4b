import { createConnection } from 'node:net';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { AGENT_SOCKET, type AttachedPod, type CniResponse } from '../../api/cni.ts';
import { connectFromPods } from '../target/from-pods.ts';
import type { PodAttempt } from '../target/target.ts';

/** `bulkhead node-probe`: runs beside an agent, tries connections from pods of its node. Attempts on stdin, outcomes on stdout. */
export function nodeProbeCommand(): Command {
  return new Command('node-probe').description('for `bulkhead reach`: runs in an agent pod').action(async () => {
    const attempts = JSON.parse(await text(process.stdin)) as PodAttempt[];
    const netns = new Map((await attachedPods()).map((p) => [p.uid, p.netns]));
    const outcomes = await connectFromPods(attempts, netns);
    process.stdout.write(JSON.stringify(outcomes));
  });
}

function readPods(answer: string): readonly AttachedPod[] | undefined {
  try {
    const response = JSON.parse(answer) as CniResponse;
    return 'pods' in response ? response.pods : undefined;
  } catch {
    return undefined;
  }
}

function attachedPods(): Promise<readonly AttachedPod[]> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(AGENT_SOCKET);
    let answer = '';
    socket.setEncoding('utf8');
    socket.on('error', reject);
    socket.on('data', (chunk: string) => (answer += chunk));
    socket.on('end', () => {
      const pods = readPods(answer);
      if (pods) resolve(pods);
      else reject(new Error('the agent does not list its pods: it is of another version'));
    });
    socket.write(`${JSON.stringify({ verb: 'PODS', containerID: '', netns: '', ifname: '', args: {}, config: {} })}\n`);
  });
}
