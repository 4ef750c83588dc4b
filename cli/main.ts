import { run } from './program.ts';

const code = await run(process.argv.slice(2));
// A pipe takes its time: what was printed must be out before the end.
process.stdout.write('', () => process.exit(code));
