import { createHash } from 'node:crypto';
import { type Rate, TokenBuckets } from '../http/token-bucket.ts';

/** What the API server said of tokens: who it is, or whether they may do something. */
export type TokenAnswersOptions<T> = {
  /** Asks the API server; undefined: the token is refused. */
  readonly ask: (token: string) => Promise<T | undefined>;
  /** Whether a token names something that only its rightful holder knows: it does not wait behind a flood of others. */
  readonly isLikely?: (token: string) => boolean;
  readonly now?: () => number;
};

/** Refused tokens that one address may show: each is a question to the API server. */
const FAILING: Rate = { burst: 20, perSecond: 1 };
const GOOD_MS = 60_000;
const REFUSED_MS = 30_000;
const MOST_REMEMBERED = 10_000;

type Answer<T> = { readonly value: T | undefined; readonly until: number };

/**
 * Remembers the API server's answers about tokens, so that it is asked about each only now and then. Refused ones are remembered apart:
 * a flood of junk pushes out no good one. An address that shows too many refused ones is asked to wait, and costs nothing meanwhile.
 */
export class TokenAnswers<T> {
  readonly #ask: (token: string) => Promise<T | undefined>;
  readonly #isLikely: (token: string) => boolean;
  readonly #now: () => number;
  readonly #failing: TokenBuckets;
  readonly #good = new Map<string, Answer<T>>();
  readonly #refused = new Map<string, Answer<T>>();
  readonly #asking = new Map<string, Promise<T | undefined>>();

  constructor({ ask, isLikely = () => false, now = Date.now }: TokenAnswersOptions<T>) {
    this.#ask = ask;
    this.#isLikely = isLikely;
    this.#now = now;
    this.#failing = new TokenBuckets(FAILING, { now });
  }

  /** The answer about a token that was shown from `address`. Throws {@link TooManyTokens}. */
  async of(token: string, address: string): Promise<T | undefined> {
    const key = createHash('sha256').update(token).digest('base64');
    // One that was good before is asked about again without counting: many callers may be behind one address.
    const wasGood = this.#good.has(key);
    const known = this.#known(this.#good, key) ?? this.#known(this.#refused, key);
    if (known) return known.value;
    const asked = this.#asking.get(key);
    if (asked) return await asked;
    const free = wasGood || this.#isLikely(token);
    if (!free && !this.#failing.take(address)) throw new TooManyTokens(address);
    const asking = this.#ask(token).finally(() => this.#asking.delete(key));
    this.#asking.set(key, asking);
    const value = await asking;
    if (value !== undefined && !free) this.#failing.giveBack(address);
    const until = this.#now() + (value === undefined ? REFUSED_MS : GOOD_MS);
    if (value === undefined) this.#good.delete(key);
    remember(value === undefined ? this.#refused : this.#good, key, { value, until });
    return value;
  }

  #known(answers: Map<string, Answer<T>>, key: string): Answer<T> | undefined {
    const answer = answers.get(key);
    return answer && answer.until > this.#now() ? answer : undefined;
  }
}

/** Too many refused tokens have come from one address. */
export class TooManyTokens extends Error {
  override readonly name = 'TooManyTokens';
  readonly code = 'TooManyTokens';
  readonly statusCode = 429;
  constructor(address: string) {
    super(`too many tokens from ${address} were refused; wait some seconds, and show a valid one`);
  }
}

function remember<T>(answers: Map<string, Answer<T>>, key: string, answer: Answer<T>): void {
  answers.delete(key);
  answers.set(key, answer);
  if (answers.size <= MOST_REMEMBERED) return;
  const [oldest] = answers.keys();
  if (oldest !== undefined) answers.delete(oldest);
}
