import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import type { JournalEntry } from './attachment.ts';
import { readEntry } from './journal-entry.ts';

/** The file. Appends are one write call, so a crash tears at most the last entries of one batch. */
export class Journal {
  readonly #path: string;
  #lines = 0;

  constructor(path: string) {
    this.#path = path;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  }

  /**
   * All entries that can be read, and how many lines hold none. Cuts off a torn end, so that the next append starts on a line of its
   * own.
   */
  load(): { readonly entries: JournalEntry[]; readonly spoilt: number } {
    let data: Buffer;
    try {
      data = readFileSync(this.#path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { entries: [], spoilt: 0 };
      throw error;
    }
    const end = data.lastIndexOf('\n') + 1;
    if (end < data.length) truncateSync(this.#path, end);
    const lines = data
      .subarray(0, end)
      .toString()
      .split('\n')
      .filter((line) => line !== '');
    const entries = lines.flatMap((line) => readEntry(line) ?? []);
    this.#lines = lines.length;
    return { entries, spoilt: lines.length - entries.length };
  }

  /** Keeps the file as it is beside, before it is written anew without what cannot be used. */
  setAside(): void {
    copyFileSync(this.#path, `${this.#path}.broken`);
  }

  /** Appends entries. Throws (ENOSPC, EIO) with the file as it was before. */
  append(entries: readonly JournalEntry[]): void {
    if (entries.length === 0) return;
    const before = this.#size();
    try {
      appendFileSync(this.#path, `${entries.map((e) => JSON.stringify(e)).join('\n')}\n`, { mode: 0o600 });
    } catch (error) {
      truncateSync(this.#path, before);
      throw error;
    }
    this.#lines += entries.length;
  }

  /** Whether the file holds much more than the state needs. */
  isLong(needed: number): boolean {
    return this.#lines > 1000 + 4 * needed;
  }

  /** Replaces everything by a snapshot, atomically. */
  rewrite(entries: readonly JournalEntry[]): void {
    const next = `${this.#path}.next`;
    writeFileSync(next, entries.map((e) => `${JSON.stringify(e)}\n`).join(''), { mode: 0o600 });
    renameSync(next, this.#path);
    this.#lines = entries.length;
  }

  #size(): number {
    try {
      return statSync(this.#path).size;
    } catch {
      writeFileSync(this.#path, '', { mode: 0o600 });
      return 0;
    }
  }
}
