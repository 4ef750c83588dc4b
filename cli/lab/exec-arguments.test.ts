import { Command } from 'commander';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { labCommand } from './command.ts';
import { readExecArguments } from './exec-arguments.ts';

const word = fc.oneof(
  fc.constantFrom('--', '-c', '--name', '--name=x', '-', 'sh', ''),
  fc.string({ unit: fc.constantFrom('-', 'a', ' ', '=') }),
);
const first = fc.stringMatching(/^[a-z/][a-z/ -]*$/);

describe('lab exec POD …', () => {
  test.each<[string, string[], string | undefined]>([
    ['-- curl -s http://web/', ['curl', '-s', 'http://web/'], undefined],
    ['curl -s http://web/', ['curl', '-s', 'http://web/'], undefined],
    ['--name x -- curl -s', ['curl', '-s'], 'x'],
    ['--name=x curl --name y', ['curl', '--name', 'y'], 'x'],
    ['-- sh -c true -- a', ['sh', '-c', 'true', '--', 'a'], undefined],
    ['sh -- --name y', ['sh', '--', '--name', 'y'], undefined],
    ['-- --name', ['--name'], undefined],
  ])('%s', (line, command, name) => {
    expect(readExecArguments(line.split(' '))).toEqual(name === undefined ? { command } : { command, name });
  });

  test.each([
    ['', /no command/],
    ['--', /no command/],
    ['--name', /needs the name/],
    ['--name -- a', /needs the name/],
    ['-x a', /unknown option -x/],
  ])('%s is refused', (line, message) => {
    expect(() => readExecArguments(line === '' ? [] : line.split(' '))).toThrow(message);
  });

  test('the command arrives word for word, whatever it holds and wherever --name stands', () => {
    fc.assert(
      fc.property(first, fc.array(word), fc.boolean(), fc.boolean(), (program, rest, dashes, named) => {
        const command = [program, ...rest];
        const words = [...(named ? ['--name', 'x'] : []), ...(dashes ? ['--'] : []), ...command];
        expect(readExecArguments(words)).toEqual(named ? { name: 'x', command } : { command });
      }),
    );
  });

  test('every place of --name and of -- on the whole line means the same', async () => {
    const seen: unknown[] = [];
    const exec = async (name: string, pod: string, command: readonly string[]): Promise<number> => {
      seen.push([name, pod, command]);
      return await Promise.resolve(0);
    };
    for (const line of [
      'exec --name x a/b -- curl -s --name y',
      'exec --name x a/b curl -s --name y',
      'exec --name=x a/b -- curl -s --name y',
      'exec a/b --name x -- curl -s --name y',
      'exec a/b --name=x curl -s --name y',
      'exec --name x -- a/b curl -s --name y',
      'exec --name x -- a/b -- curl -s --name y',
      'exec --name z a/b --name x -- curl -s --name y',
    ])
      await new Command()
        .enablePositionalOptions()
        .addCommand(labCommand(() => undefined, exec))
        .parseAsync(['lab', ...line.split(' ')], { from: 'user' });
    expect(new Set(seen.map((s) => JSON.stringify(s)))).toEqual(
      new Set([JSON.stringify(['x', 'a/b', ['curl', '-s', '--name', 'y']])]),
    );
    expect(seen).toHaveLength(8);
  });
});
