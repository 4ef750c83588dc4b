import type { Outcome } from '../../core/policy/cell.ts';

/** Rules by the numbers under which the kernel counts them. A number is never given to another rule. */
export class RuleNumbers {
  readonly #byRule = new Map<string, number>();
  /** Outcomes never change, and a cell asks about the same one for each of its ports. */
  readonly #byOutcome = new WeakMap<Outcome, number>();
  readonly #rules: Outcome[] = [];

  of(outcome: Outcome): number {
    const known = this.#byOutcome.get(outcome) ?? this.#numberOf(outcome);
    this.#byOutcome.set(outcome, known);
    return known;
  }

  #numberOf(outcome: Outcome): number {
    const { verdict, tier, policy, rule } = outcome;
    const key = JSON.stringify([verdict, tier, policy, rule]);
    const known = this.#byRule.get(key);
    if (known !== undefined) return known;
    this.#byRule.set(key, this.#rules.length);
    return this.#rules.push(outcome) - 1;
  }

  ruleOf(number: number): Outcome | undefined {
    return this.#rules[number];
  }
}
