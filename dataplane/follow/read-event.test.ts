import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { emptyNodeConfig, ITEM_KINDS, type StreamEvent } from '../../api/nodeconfig.ts';
import { exampleState } from '../../core/cluster/example.ts';
import { viewOf } from '../../core/view/view.ts';
import { applyEvent, compile, diffConfig } from '../../core/node-config/compile.ts';
import { loadConfig, saveConfig } from './saved-config.ts';
import { readEvent, StreamError } from './read-event.ts';

const events = diffConfig(emptyNodeConfig(), compile(viewOf(exampleState()), 'n1'));

describe('a line of the stream', () => {
  test('all that a controller says is taken as it is', () => {
    expect(new Set(events.map((e) => (e.type === 'upsert' ? e.kind : ''))).size).toBeGreaterThan(5);
    for (const event of events) expect(readEvent(JSON.stringify(event))).toEqual({ event });
    for (const event of [
      { type: 'hello', epoch: 3, node: 'n1' },
      { type: 'sync', revision: 7 },
      { type: 'delete', kind: 'pod', key: 'a/b' },
    ])
      expect(readEvent(JSON.stringify(event)).event).toEqual(event);
  });

  test('what a newer controller may say is passed over, and newer fields stay', () => {
    for (const line of ['{"type":"ping"}', '{"type":"shiny"}', '{"type":"upsert","kind":"shiny","key":"x","value":7}'])
      expect(readEvent(line)).toEqual({ event: undefined });
    const newer = {
      type: 'upsert',
      kind: 'block',
      key: 'x',
      value: { cidr: '10.0.0.0/28', node: 'n', network: 'a/b', newer: 1 },
    };
    expect(readEvent(JSON.stringify(newer)).event).toEqual(newer);
  });

  test('whatever comes, it is read or refused, and what is read has the right types', () => {
    const odd = fc.oneof(fc.jsonValue(), fc.string());
    const line = fc.oneof(
      fc.string(),
      odd.map((v) => JSON.stringify(v)),
      fc
        .record(
          {
            type: fc.oneof(fc.constantFrom('upsert', 'delete', 'hello', 'sync', 'ping'), odd),
            kind: fc.oneof(fc.constantFrom(...ITEM_KINDS, '__proto__', 'constructor'), odd),
            key: odd,
            epoch: odd,
            node: odd,
            revision: odd,
            value: odd,
          },
          { requiredKeys: ['type'] },
        )
        .map((v) => JSON.stringify(v)),
    );
    fc.assert(
      fc.property(line, (text) => {
        const config = emptyNodeConfig();
        try {
          const { event } = readEvent(text);
          if (event) applyEvent(config, event);
        } catch (error) {
          expect(error).toBeInstanceOf(StreamError);
        }
      }),
      { numRuns: 3_000 },
    );
  });

  /** Every event with one value somewhere in its item replaced. */
  const spoilt = (event: StreamEvent, path: number, by: unknown): string => {
    const places: [object, string][] = [];
    const walk = (at: object): void => {
      for (const [k, v] of Object.entries(at)) {
        places.push([at, k]);
        if (typeof v === 'object' && v !== null) walk(v as object);
      }
    };
    const copy = JSON.parse(JSON.stringify(event)) as { value: object };
    walk(copy.value);
    const place = places[path % Math.max(places.length, 1)];
    if (place) (place[0] as Record<string, unknown>)[place[1]] = by;
    return JSON.stringify(copy);
  };

  test('an item with a wrong value is left out alone, or ends the stream: never taken in', () => {
    const upserts = events.filter((e) => e.type === 'upsert');
    fc.assert(
      fc.property(
        fc.constantFrom(...upserts),
        fc.nat(),
        fc.constantFrom(null, 7.5, {}, [7], { x: 1 }),
        (event, at, by) => {
          try {
            const read = readEvent(spoilt(event, at, by));
            expect(read.event === undefined || read.event.type === 'delete' || read.problem === undefined).toBe(true);
            if (read.event?.type === 'delete')
              expect(['cluster', 'node', 'group', 'profile']).not.toContain(event.kind);
          } catch (error) {
            expect(error).toBeInstanceOf(StreamError);
            expect(['cluster', 'node', 'group', 'profile']).toContain(event.kind);
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe('the saved config', () => {
  const folder = mkdtempSync(join(tmpdir(), 'config-'));
  const path = join(folder, 'c.json');
  const config = emptyNodeConfig();
  for (const e of events) applyEvent(config, e);

  test('comes back as it was', async () => {
    await saveConfig(path, config);
    expect(loadConfig(path)).toEqual(config);
  });

  test('torn, or with anything in it: empty, or without what cannot be read', async () => {
    await saveConfig(path, config);
    const whole = JSON.stringify(Object.fromEntries(ITEM_KINDS.map((k) => [k, [...config[k]]])));
    const odd = fc.jsonValue();
    const entry = fc.oneof(odd, fc.tuple(fc.string(), odd));
    fc.assert(
      fc.property(
        fc.oneof(
          fc.nat(whole.length).map((n) => whole.slice(0, n)),
          fc.string(),
          odd.map((v) => JSON.stringify(v)),
          fc.dictionary(fc.constantFrom(...ITEM_KINDS), fc.oneof(odd, fc.array(entry))).map((v) => JSON.stringify(v)),
        ),
        (text) => {
          writeFileSync(path, text);
          const read = loadConfig(path);
          for (const kind of ITEM_KINDS) expect(read[kind]).toBeInstanceOf(Map);
        },
      ),
      { numRuns: 500 },
    );
    const pods = { ...Object.fromEntries(ITEM_KINDS.map((k) => [k, [...config[k]]])) };
    writeFileSync(path, JSON.stringify({ ...pods, pod: [['x/y', { uid: 7 }], ...config.pod] }));
    expect(loadConfig(path)).toEqual(config);
    writeFileSync(path, JSON.stringify({ ...pods, node: [['x', {}]] }));
    expect(loadConfig(path)).toEqual(emptyNodeConfig());
    rmSync(folder, { recursive: true });
  });
});
