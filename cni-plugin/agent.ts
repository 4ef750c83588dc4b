import { createConnection } from 'node:net';
import { AGENT_SOCKET, CNI_ERRORS, type CniRequest, type CniResponse } from '../api/cni.ts';
import { readAnswer } from './answer.ts';
import { PluginError } from './skel.ts';

/** A runtime gives up after minutes; a pod that waits for its agent is tried again long before. */
const TIMEOUT_MS = 30_000;
/** A result is below a kilobyte. */
const MAX_ANSWER = 1 << 20;
const NEWLINE = 10;

/** Sends one request to the agent and reads its answer. Code 11 (try again later) when it is away. */
export function askAgent(socket: string | undefined, request: CniRequest): Promise<CniResponse> {
  const path = socket ?? AGENT_SOCKET;
  return new Promise((resolve, reject) => {
    const away = (why: string): void =>
      reject(
        new PluginError(
          request.verb === 'STATUS' ? CNI_ERRORS.PluginNotAvailable : CNI_ERRORS.TryAgainLater,
          `the bulkhead agent does not answer at ${path} (${why}); is it running on this node?`,
        ),
      );
    const chunks: Buffer[] = [];
    let length = 0;
    const connection = createConnection(path);
    const timer = setTimeout(() => {
      away('time-out');
      connection.destroy();
    }, TIMEOUT_MS);
    connection.on('connect', () => connection.write(`${JSON.stringify(request)}\n`));
    connection.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (chunk.at(-1) !== NEWLINE && length <= MAX_ANSWER) return;
      clearTimeout(timer);
      connection.destroy();
      const answer = length > MAX_ANSWER ? undefined : readAnswer(Buffer.concat(chunks).toString());
      if (answer) resolve(answer);
      else away('an answer that cannot be read: plugin and agent are of different versions');
    });
    connection.on('error', (error: NodeJS.ErrnoException) => away(error.code ?? error.message));
    connection.on('close', () => {
      clearTimeout(timer);
      away('connection closed');
    });
  });
}
