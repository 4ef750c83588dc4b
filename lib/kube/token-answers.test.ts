import { describe, expect, test } from 'vitest';
import { TokenAnswers, TooManyTokens } from './token-answers.ts';

function answers() {
  const asked: string[] = [];
  const clock = { now: 0 };
  const tokens = new TokenAnswers({
    now: () => clock.now,
    isLikely: (token) => token.endsWith('likely'),
    ask: (token) => {
      asked.push(token);
      return Promise.resolve(token.startsWith('good') ? `node of ${token}` : undefined);
    },
  });
  return { asked, clock, tokens };
}

describe('answers about tokens', () => {
  test('a flood of junk from one address asks the API server a few times, and others are served', async () => {
    const { asked, tokens } = answers();
    let waiting = 0;
    for (let i = 0; i < 5_000; i++) {
      try {
        await tokens.of(`junk ${i}`, '10.0.0.1');
      } catch (error) {
        expect(error).toBeInstanceOf(TooManyTokens);
        waiting++;
      }
    }
    expect(asked.length).toBe(20);
    expect(waiting).toBe(4_980);
    expect(await tokens.of('good', '10.0.0.2')).toBe('node of good');
  });

  test('good tokens cost nothing, are remembered, and are not pushed out by refused ones', async () => {
    const { asked, tokens, clock } = answers();
    for (let i = 0; i < 200; i++) expect(await tokens.of(`good ${i}`, '10.0.0.1')).toBe(`node of good ${i}`);
    for (let i = 0; i < 20_000; i++) await tokens.of(`junk ${i}`, `address ${i}`);
    asked.length = 0;
    for (let i = 0; i < 200; i++) await tokens.of(`good ${i}`, '10.0.0.1');
    expect(asked).toEqual([]);
    clock.now = 61_000;
    await tokens.of('good 7', '10.0.0.1');
    expect(asked).toEqual(['good 7']);
  });

  test('one question for the same token at the same time, and an address is heard again later', async () => {
    const { asked, tokens, clock } = answers();
    await Promise.all(Array.from({ length: 50 }, () => tokens.of('junk', '10.0.0.1')));
    expect(asked).toEqual(['junk']);
    for (let i = 0; i < 30; i++) await tokens.of(`j${i}`, '10.0.0.1').catch(() => undefined);
    await expect(tokens.of('good', '10.0.0.1')).rejects.toThrow(TooManyTokens);
    clock.now = 10_000;
    expect(await tokens.of('good', '10.0.0.1')).toBe('node of good');
  });

  test('behind the address of a flood: a token that was good goes on, and so does one that is likely', async () => {
    const { tokens, clock } = answers();
    await tokens.of('good', '10.0.0.1');
    clock.now = 120_000;
    for (let i = 0; i < 100; i++) await tokens.of(`junk${i}`, '10.0.0.1').catch(() => undefined);
    expect(await tokens.of('good', '10.0.0.1')).toBe('node of good');
    await expect(tokens.of('good new', '10.0.0.1')).rejects.toThrow(TooManyTokens);
    expect(await tokens.of('good likely', '10.0.0.1')).toBe('node of good likely');
  });

  test('a token that is good no longer counts as any other', async () => {
    let good = true;
    const clock = { now: 0 };
    const tokens = new TokenAnswers({ now: () => clock.now, ask: () => Promise.resolve(good ? 1 : undefined) });
    expect(await tokens.of('t', 'a')).toBe(1);
    good = false;
    clock.now = 61_000;
    expect(await tokens.of('t', 'a')).toBeUndefined();
  });
});
