import { expect, test } from 'vitest';
import { NodeSilence } from './node-silence.ts';

test('a node is silent after forty seconds without a stream, and after none while it has one', () => {
  let now = 0;
  const silence = new NodeSilence(() => now);
  now = 39_000;
  expect(silence.isSilent('n1', [])).toBe(false);
  now = 41_000;
  expect(silence.isSilent('n1', [])).toBe(true);
  expect(silence.isSilent('n1', ['n1'])).toBe(false);
  now = 80_000;
  expect(silence.isSilent('n1', [])).toBe(false);
});

test('a node with an egress address is given up after eight seconds, another after forty', () => {
  let now = 0;
  const silence = new NodeSilence(() => now);
  const state = {
    nodes: new Map(['holder', 'other', 'unheard'].map((name) => [name, {}])),
    networks: new Map([['a/x', { egressNode: 'holder' }]]),
  } as never;
  const heard = new Map([
    ['holder', 0],
    ['other', 0],
  ]);
  now = 7_000;
  expect([...silence.alive(state, heard)]).toEqual(['holder', 'other']);
  now = 9_000;
  expect([...silence.alive(state, heard)]).toEqual(['other']);
  now = 41_000;
  expect([...silence.alive(state, heard)]).toEqual([]);
});
