import type { LabelSelector } from '../../api/kinds/label-selector.ts';
import type { Strings } from '../cluster/state.ts';

/** Things by their labels, so that a selector is compared with few of them. */
export class LabelIndex<T> {
  readonly #all: readonly T[];
  readonly #byLabel = new Map<string, T[]>();

  constructor(all: readonly T[], labelsOf: (one: T) => Strings) {
    this.#all = all;
    for (const one of all)
      for (const [key, value] of Object.entries(labelsOf(one))) {
        const text = `${key}=${value}`;
        const some = this.#byLabel.get(text);
        if (some) some.push(one);
        else this.#byLabel.set(text, [one]);
      }
  }

  /** At least those that the selector matches: those with the rarest of the labels that it asks for. */
  like(selector: LabelSelector): readonly T[] {
    let fewest = this.#all;
    for (const values of requiredLabels(selector)) {
      const some = values.map((label) => this.#byLabel.get(label) ?? []);
      const count = some.reduce((n, s) => n + s.length, 0);
      if (count < fewest.length) fewest = some.flat();
    }
    return fewest;
  }
}

/** Things by the first label that their selectors ask for, so that labels are compared with few of them. */
export class SelectorIndex<T> {
  readonly #all: readonly T[];
  readonly #byLabel = new Map<string, number[]>();

  /** @param selectorOf undefined: it selects nothing */
  constructor(all: readonly T[], selectorOf: (one: T) => LabelSelector | undefined) {
    this.#all = all;
    for (const [at, one] of all.entries()) {
      const selector = selectorOf(one);
      for (const label of selector ? (requiredLabels(selector)[0] ?? [ANY]) : []) {
        const places = this.#byLabel.get(label);
        if (places) places.push(at);
        else this.#byLabel.set(label, [at]);
      }
    }
  }

  /** At least those whose selectors match the labels; the order stays. */
  like(labels: Strings): readonly T[] {
    const places = Object.entries(labels).flatMap(([key, value]) => this.#byLabel.get(`${key}=${value}`) ?? []);
    return [...(this.#byLabel.get(ANY) ?? []), ...places].sort((a, b) => a - b).flatMap((at) => this.#all[at] ?? []);
  }
}

/** Stands for selectors that ask for no label; labels have a "=" here. */
const ANY = '';

/** "key=value" of the labels without which a selector does not match: of each inner list one must be there. */
export function requiredLabels(selector: LabelSelector): readonly (readonly string[])[] {
  const known = required.get(selector);
  if (known) return known;
  const labels = [
    ...Object.entries(selector.matchLabels ?? {}).map(([key, value]) => [`${key}=${value}`]),
    ...(selector.matchExpressions ?? []).flatMap(({ key, operator, values = [] }) =>
      operator === 'In' ? [[...new Set(values)].map((value) => `${key}=${value}`)] : [],
    ),
  ];
  required.set(selector, labels);
  return labels;
}

/** Selectors never change: each is looked through once. */
const required = new WeakMap<LabelSelector, readonly (readonly string[])[]>();
