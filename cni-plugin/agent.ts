import { createConnection } from 'node:net';
import { AGENT_SOCKET, CNI_ERRORS, type CniRequest, type CniResponse } from '../api/cni.ts';
import { PluginError } from './skel.ts';

/** A runtime gives up after minutes; a pod that waits for its agent is tried again long before. */
const TIMEOUT_MS = 30_000;

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
    let text = '';
    const connection = createConnection(path);
    const timer = setTimeout(() => {
      away('time-out');
      connection.destroy();
    }, TIMEOUT_MS);
    connection.setEncoding('utf8');
    connection.on('connect', () => connection.write(`${JSON.stringify(request)}\n`));
    connection.on('data', (chunk: string) => {
      text += chunk;
      if (!text.endsWith('\n')) return;
      clearTimeout(timer);
      connection.destroy();
      try {
        resolve(JSON.parse(text) as CniResponse);
      } catch {
        away('an answer that is not JSON');
      }
    });
    connection.on('error', (error: NodeJS.ErrnoException) => away(error.code ?? error.message));
    connection.on('close', () => {
      clearTimeout(timer);
      away('connection closed');
    });
  });
}
