import { type Command, Option } from 'commander';
import pino, { type Logger } from 'pino';

/** What a program can be asked to log, least first. Each level holds those before it. */
export const LOG_LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** The variable that sets the level of programs that are started without the flag. */
export const LOG_LEVEL_VARIABLE = 'BULKHEAD_LOG_LEVEL';

/** `--log-level`, the same in every program. */
export const logLevelOption = (): Option =>
  new Option('--log-level <level>', 'lowest level of log lines')
    .choices(LOG_LEVELS)
    .env(LOG_LEVEL_VARIABLE)
    .default('info' satisfies LogLevel);

/** The log of a program: JSON lines on standard error, written before the call returns. */
export const openLog = (name: string): Logger => pino({ name }, pino.destination({ fd: 2, sync: true }));

/** Gives a program `--log-level`; its log has that level before any action runs. */
export function takeLogLevel(program: Command, log: Logger): void {
  program.addOption(logLevelOption()).hook('preAction', (command) => {
    log.level = command.opts<{ logLevel: LogLevel }>().logLevel;
  });
}
