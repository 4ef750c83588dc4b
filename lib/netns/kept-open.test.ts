import { describe, expect, test } from 'vitest';
import { KeptOpen } from './kept-open.ts';

class Thing implements Disposable {
  readonly name: string;
  readonly #log: string[];
  constructor(name: string, log: string[]) {
    this.name = name;
    this.#log = log;
    log.push(`open ${name}`);
  }
  [Symbol.dispose](): void {
    this.#log.push(`close ${this.name}`);
  }
}

const outOfFiles = (): Error => Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' });

describe('things that are kept open', () => {
  test('the least recently used makes room, and is opened again when it is asked for', () => {
    const log: string[] = [];
    const kept = new KeptOpen<string, Thing>(2);
    const get = (key: string): Thing => kept.get(key, () => new Thing(key, log));
    get('a');
    get('b');
    get('a');
    get('c');
    get('b');
    expect(log).toEqual(['open a', 'open b', 'close b', 'open c', 'close a', 'open b']);
    kept.close('b');
    kept.close('b');
    expect(log.at(-1)).toBe('close b');
    expect(log).toHaveLength(7);
  });

  test('out of files: what is open is given up before it is an error', () => {
    const log: string[] = [];
    const kept = new KeptOpen<string, Thing>(8);
    for (const key of ['a', 'b', 'c']) kept.get(key, () => new Thing(key, log));
    let left = 2;
    kept.get('d', () => {
      if (left-- > 0) throw outOfFiles();
      return new Thing('d', log);
    });
    expect(log.slice(3)).toEqual(['close a', 'close b', 'open d']);
    const never = (): Thing => {
      throw outOfFiles();
    };
    expect(() => kept.get('e', never)).toThrow('too many open files');
    expect(log.slice(-2)).toEqual(['close c', 'close d']);
  });

  test('any other error is reported at once', () => {
    const kept = new KeptOpen<string, Thing>(8);
    const log: string[] = [];
    kept.get('a', () => new Thing('a', log));
    const gone = (): Thing => {
      throw Object.assign(new Error('gone'), { code: 'ENOENT' });
    };
    expect(() => kept.get('b', gone)).toThrow('gone');
    expect(log).toEqual(['open a']);
  });
});
