import { channel } from 'node:diagnostics_channel';
import type { Command } from 'commander';
import { LOG_LEVEL_VARIABLE, LOG_LEVELS, type LogLevel, logLevelOption } from '../../lib/process/log.ts';
import { warn } from './output.ts';

/**
 * `--log-level` of the command line. A command's result and its errors are always printed. From `debug` on, each request to the API
 * server and each program that is started gets a line on standard error. Programs of a lab that the command starts get the level, too.
 */
export function takeVerbosity(program: Command): void {
  program.addOption(logLevelOption()).hook('preAction', (command) => {
    const { logLevel } = command.opts<{ logLevel: LogLevel }>();
    if (command.getOptionValueSource('logLevel') === 'cli') process.env[LOG_LEVEL_VARIABLE] = logLevel;
    if (LOG_LEVELS.indexOf(logLevel) >= LOG_LEVELS.indexOf('debug')) tellSteps();
  });
}

/** Paths and statuses only: headers hold tokens. */
function tellSteps(): void {
  channel('undici:request:headers').subscribe((message) => {
    const { request, response } = message as {
      request: { origin?: string | URL; method: string; path: string };
      response: { statusCode: number };
    };
    warn(`debug: ${request.method} ${String(request.origin ?? '')}${request.path}: ${response.statusCode}`);
  });
  channel('child_process').subscribe((message) => {
    const { process: child } = message as { process: { spawnargs?: readonly string[] } };
    // It has no arguments yet when it is announced.
    process.nextTick(() => warn(`debug: started ${(child.spawnargs ?? []).join(' ')}`));
  });
}
