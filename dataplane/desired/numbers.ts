/** Small numbers for keys: each has one until it is freed, and freed ones are given again before new ones. */
export class Numbers {
  #next: number;
  readonly #most: number;
  readonly #free: number[] = [];
  readonly #byKey = new Map<string, number>();

  /** Numbers from `first` up to, and without, `end`. */
  constructor(first: number, end: number) {
    this.#next = first;
    this.#most = end;
  }

  /** The key's number. Throws RangeError when there are no more. */
  take(key: string): number {
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const number = this.#free.pop() ?? this.#next++;
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
