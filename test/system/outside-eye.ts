import { type ChildProcess, spawn } from 'node:child_process';
import { afterAll, beforeAll } from 'vitest';
import { netPath, OUTSIDE } from '../../lab/world/plan.ts';
import type { TestLab } from './lab.ts';

const PORT = 8_099;
const PROGRAM = `require('node:http').createServer((q, r) => r.end(q.socket.remoteAddress.replace('::ffff:', ''))).listen(${PORT}, '::', () => console.log('up'))`;

/** A host outside that says whom it sees. */
export type OutsideEye = {
  readonly port: number;
  /** The address by which it sees a pod; "none" when there is no way out. */
  readonly seenAs: (pod: string, family: 4 | 6) => Promise<string>;
};

/** Serves from the lab's start until its end: call it behind `useLab`. */
export function useOutsideEye(lab: TestLab): OutsideEye {
  let server: ChildProcess | undefined;
  beforeAll(async () => {
    const child = spawn('nsenter', [`--net=${netPath(lab.name, 'outside')}`, '--', process.execPath, '-e', PROGRAM], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    server = child;
    await new Promise<void>((resolve) => child.stdout.once('data', () => resolve()));
  });
  afterAll(() => server?.kill());
  return {
    port: PORT,
    seenAs: (pod, family) => {
      const { host } = OUTSIDE[family];
      const url = `http://${family === 4 ? host : `[${host}]`}:${PORT}/`;
      return lab.inPod(pod, 'curl', '-s', '-m', '1', url).catch(() => 'none');
    },
  };
}
