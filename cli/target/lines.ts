import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** What a program prints, line by line, until it ends. Throws what it says when it fails. */
export async function* linesOf(command: readonly string[]): AsyncGenerator<string> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4_000)));
  const ended = new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 0));
  });
  try {
    yield* createInterface({ input: child.stdout });
    if ((await ended) !== 0) throw new Error(said.trim() || `${program} failed`);
  } finally {
    child.kill();
  }
}
