import { spawn } from 'node:child_process';

/** What a finished program said. */
export type ExecResult = { readonly stdout: string; readonly stderr: string; readonly exitCode: number };

/** A program could not be started, failed, or ran too long. */
export class ExecError extends Error {
  override readonly name = 'ExecError';
  readonly code: 'NotFound' | 'Failed' | 'TimedOut';
  readonly argv: readonly string[];
  readonly result: ExecResult;
  constructor(code: ExecError['code'], argv: readonly string[], result: ExecResult, cause?: unknown) {
    const what = { NotFound: 'is not installed', Failed: `exited with ${result.exitCode}`, TimedOut: 'ran too long' }[
      code
    ];
    super(`${argv.join(' ')}: ${what}${result.stderr ? `: ${result.stderr.trim()}` : ''}`, { cause });
    this.code = code;
    this.argv = argv;
    this.result = result;
  }
}

/** Runs a program to its end, with LC_ALL=C. Throws {@link ExecError} unless it exits with 0. */
export async function exec(
  argv: readonly [string, ...string[]],
  {
    input,
    timeoutMs = 60_000,
    env,
    cwd,
  }: { input?: string | Uint8Array; timeoutMs?: number; env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<ExecResult> {
  const [command, ...args] = argv;
  const child = spawn(command, args, {
    env: { ...(env ?? process.env), LC_ALL: 'C' },
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(cwd === undefined ? {} : { cwd }),
  });
  // Before anything else: without free file descriptors there are no pipes, and an error that has no listener ends the process.
  const ended = new Promise<number>((resolve, reject) => {
    child.on('error', (cause) =>
      reject(new ExecError('NotFound', argv, { stdout: '', stderr: '', exitCode: -1 }, cause)),
    );
    child.on('close', (code) => resolve(code ?? -1));
  });
  const { stdin, stdout, stderr } = child as Partial<typeof child>;
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  stdout?.on('data', (d: Buffer) => out.push(d));
  stderr?.on('data', (d: Buffer) => err.push(d));
  stdin?.on('error', () => undefined); // EPIPE: the program did not read its input; its exit code tells the rest
  stdin?.end(input);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill('SIGKILL');
  }, timeoutMs);
  const exitCode = await ended.finally(() => clearTimeout(timer));
  const result = { stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString(), exitCode };
  if (timedOut) throw new ExecError('TimedOut', argv, result);
  if (exitCode !== 0) throw new ExecError('Failed', argv, result);
  return result;
}
