/** What the last resort writes to. */
export type LastWords = {
  readonly error: (fields: object, message: string) => void;
  readonly fatal: (fields: object, message: string) => void;
};

/** A connection that is over. */
const OVER: ReadonlySet<string> = new Set([
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ENOTCONN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ERR_STREAM_WRITE_AFTER_END',
]);

/** Whether an error says only that one connection is over: no other state is in doubt. */
export function isConnectionOver(error: unknown): boolean {
  const code = typeof error === 'object' && error !== null ? (error as { code?: unknown }).code : undefined;
  return typeof code === 'string' && (OVER.has(code) || code.startsWith('ERR_SSL_'));
}

/**
 * For errors that no one has caught, of promises too. A connection that is over ends no process. Of anything else the state is
 * unknown: the error is logged and the process ends, and its supervisor starts it anew; what the kernel does goes on meanwhile.
 */
export function installLastResort(words: LastWords, exit: (code: number) => void = (code) => process.exit(code)): void {
  process.on('uncaughtException', (error: unknown, origin) => {
    if (isConnectionOver(error)) {
      words.error({ err: error, origin }, 'a connection ended, and its error was not caught');
      return;
    }
    words.fatal({ err: error, origin }, 'an error was not caught: leaving, since the state is unknown');
    exit(1);
  });
}
