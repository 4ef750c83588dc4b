import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EXIT } from '../../cli/terminal/exit-codes.ts';
import { exec, ExecError } from '../../lib/exec/exec.ts';
import { kubeconfigPath, labDown } from '../../lab/world/lab.ts';
import type { Step } from '../pages/commands.ts';
import { pages, root } from '../pages/pages.ts';

// Every command of the README and the documentation that is for a lab, word for word and in its order, page by page, with what the page
// shows as its output. Pages say by comments what they need: test/pages/commands.ts.

const only = process.env['PAGE'];
const tried = [...pages()].filter(
  ([file, { steps }]) => steps.length > 0 && (only === undefined || file.includes(only)),
);

/** A folder that looks like the checkout, where `./bulkhead`, `kubectl` and `kubectl bulkhead` mean the lab of the page. */
class Desk {
  readonly folder = mkdtempSync(join(tmpdir(), 'bulkhead-page-'));
  readonly lab: string;

  constructor(lab: string) {
    this.lab = lab;
    mkdirSync(join(this.folder, 'bin'));
    // Like the lab itself, the commands look at KUBECONFIG before they look for a lab.
    const command = `#!/bin/sh\nunset KUBECONFIG\nexec ${join(root, 'bulkhead')} "$@"\n`;
    for (const name of ['bulkhead', 'bin/bulkhead', 'bin/kubectl-bulkhead'])
      writeFileSync(join(this.folder, name), command, { mode: 0o755 });
    for (const name of ['Makefile', 'examples', 'test', 'hack']) symlinkSync(join(root, name), join(this.folder, name));
  }

  async run(command: string, stopAfter?: number): Promise<{ code: number; output: string }> {
    const env = {
      ...process.env,
      PATH: `${join(this.folder, 'bin')}:${process.env['PATH'] ?? ''}`,
      BULKHEAD_LAB: this.lab,
      KUBECONFIG: kubeconfigPath(this.lab),
      NO_COLOR: '1',
    };
    const argv = stopAfter === undefined ? ['sh', '-c', command] : ['timeout', String(stopAfter), 'sh', '-c', command];
    try {
      const { stdout, stderr } = await exec(argv as [string, ...string[]], {
        cwd: this.folder,
        env,
        timeoutMs: 170_000,
      });
      return { code: 0, output: stderr + stdout };
    } catch (error) {
      if (!(error instanceof ExecError)) throw error;
      return { code: error.result.exitCode, output: error.result.stderr + error.result.stdout };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.folder, { recursive: true });
    await labDown(this.lab);
  }
}

/** What stays the same from one lab to the next: words, without addresses, numbers, random parts of names, and the room between columns. */
const words = (text: string, lab: string): string =>
  text
    .replaceAll(lab, 'default')
    .replaceAll(/-[a-z0-9]{5}(?=[^a-z0-9-]|$)|(?<=-)[a-f0-9]{8,10}(?=-)/g, '#')
    .replaceAll(/[\d.]+|[a-f\d]*::?[a-f\d:]+/g, '#')
    .replaceAll(/\s+/g, ' ')
    .trim();

/** Commands that change something are not tried twice. */
const CHANGES = /\b(up|down|apply|delete|isolate|stop|start|label|annotate|scale|run|del|add|flush)\b/;
const PATIENCE = 60_000;

async function tryStep(desk: Desk, step: Step & { kind: 'run' }): Promise<void> {
  const deadline = performance.now() + (CHANGES.test(step.command) ? 0 : PATIENCE);
  for (;;) {
    const { code, output } = await desk.run(step.command, step.untilStopped ? 4 : undefined);
    const found = words(output, desk.lab);
    const missing = step.shown.filter((line) => !found.includes(words(line, desk.lab)));
    const codes = step.untilStopped
      ? [0, 124]
      : step.code === undefined
        ? [EXIT.yes, ...answers(step.command)]
        : [step.code];
    if (missing.length === 0 && codes.includes(code)) return;
    if (performance.now() > deadline) {
      expect({ command: step.command, code, missing, output }).toEqual({
        command: step.command,
        code: codes[0],
        missing: [],
        output: '',
      });
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
const answers = (command: string): number[] => (/\b(trace|explain|lint|dry-run)\b/.test(command) ? [EXIT.no] : []);

describe.each(tried)('%s', (file, { lab, steps }) => {
  const desk = new Desk(
    `t${process.pid}-${file
      .replaceAll(/[^a-z]+/gi, '')
      .slice(-18)
      .toLowerCase()}`,
  );
  let failed = false;

  beforeAll(async () => {
    if (lab === undefined) return;
    const [manifests = '', ...flags] = lab.split(' ');
    // What a page calls "manifests/" is what the reader has written: the objects of the lab.
    cpSync(join(root, manifests), join(desk.folder, 'manifests', basename(manifests)), { recursive: true });
    const { code, output } = await desk.run(`./bulkhead lab up -f ${manifests} ${flags.join(' ')}`);
    expect({ code, output: code === 0 ? '' : output }).toEqual({ code: 0, output: '' });
  });
  afterAll(() => desk[Symbol.asyncDispose]());

  test.each(
    steps.map((step) => [`${step.line}: ${step.kind === 'run' ? step.command : 'apply the YAML'}`, step] as const),
  )('line %s', async (_, step) => {
    // A reader would stop here, too.
    if (failed) throw new Error('a step before this one has failed');
    failed = true;
    if (step.kind === 'run') await tryStep(desk, step);
    else {
      writeFileSync(join(desk.folder, 'page.yaml'), step.yaml);
      const { code, output } = await desk.run('./bulkhead lab apply -f page.yaml');
      expect({ code, output: code === 0 ? '' : output }).toEqual({ code: 0, output: '' });
    }
    failed = false;
  });
});
