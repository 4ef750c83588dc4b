import { afterAll } from 'vitest';
import { createNetns, deleteNetns } from '../../lib/netns/netns.ts';

/** Namespaces of one test file, with names that no other file and no other run has; gone when the file is done. */
export function testNamespaces(prefix: string): (name: string) => string {
  const made: string[] = [];
  let n = 0;
  afterAll(() => {
    for (const path of made) deleteNetns(path);
  });
  return (name) => {
    const path = `/run/netns/bhtest-${prefix}-${process.pid}-${n++}-${name}`;
    createNetns(path);
    made.push(path);
    return path;
  };
}
