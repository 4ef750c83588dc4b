import { readFileSync, writeSync } from 'node:fs';
import { askAgent } from './agent.ts';
import { runPlugin } from './skel.ts';

const { stdout, exitCode } = await runPlugin({
  env: process.env,
  readStdin: () => readFileSync(0, 'utf8'),
  ask: askAgent,
});
if (stdout !== '') writeSync(1, stdout);
process.exit(exitCode);
