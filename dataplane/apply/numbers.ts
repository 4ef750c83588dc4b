/** Small numbers for keys: each has one until it is freed, and the lowest free one is given next. */
export class Numbers {
  readonly #next: { value: number };
  readonly #most: number;
  readonly #free: number[] = [];
  readonly #byKey = new Map<string, number>();

  /** Numbers from `first` up to, and without, `end`. */
  constructor(first: number, end: number) {
    this.#next = { value: first };
    this.#most = end;
  }

  /** The key's number. Throws RangeError when there are no more. */
  take(key: string): number {
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const number = this.#free.pop() ?? this.#next.value++;
    if (number >= this.#most) throw new RangeError(`no number below ${this.#most} is left for ${key}`);
    this.#byKey.set(key, number);
    return number;
  }

  free(key: string): void {
    const number = this.#byKey.get(key);
    if (number === undefined) return;
    this.#byKey.delete(key);
    this.#free.push(number);
  }
}
