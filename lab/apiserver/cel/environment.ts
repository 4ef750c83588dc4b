import { Environment } from '@marcbachmann/cel-js';
import { registerNetworkFunctions } from './network-functions.ts';

/** The language with these variables, each of any type. */
export function environmentWith(variables: readonly string[]): Environment {
  const key = variables.join(' ');
  let env = environments.get(key);
  if (!env) {
    env = base().clone();
    for (const name of variables) env.registerVariable(name, 'dyn');
    environments.set(key, env);
  }
  return env;
}

const environments = new Map<string, Environment>();
let shared: Environment | undefined;

function base(): Environment {
  if (shared) return shared;
  shared = new Environment({
    unlistedVariablesAreDyn: false,
    enableOptionalTypes: true,
    homogeneousAggregateLiterals: false,
  });
  registerNetworkFunctions(shared);
  registerListFunctions(shared);
  registerPatternFunctions(shared);
  return shared;
}

type Ordered = bigint | number | string;
const compare = (a: Ordered, b: Ordered): number => (a < b ? -1 : a > b ? 1 : 0);

function registerListFunctions(env: Environment): void {
  env
    .registerFunction('list.isSorted(): bool', (list: Ordered[]) =>
      list.every((v, i) => i === 0 || compare(list[i - 1] ?? v, v) <= 0),
    )
    .registerFunction('list.sum(): dyn', (list: (bigint | number)[]) =>
      list.length === 0 ? 0n : list.reduce((a, b) => ((a as bigint) + (b as bigint)) as bigint | number),
    )
    .registerFunction('list.min(): dyn', (list: Ordered[]) => extreme(list, -1))
    .registerFunction('list.max(): dyn', (list: Ordered[]) => extreme(list, 1));
}

function extreme(list: readonly Ordered[], side: -1 | 1): Ordered {
  const [first, ...rest] = list;
  if (first === undefined) throw new RangeError(`${side < 0 ? 'min' : 'max'} called on empty list`);
  return rest.reduce((a, b) => (compare(b, a) === side ? b : a), first);
}

function registerPatternFunctions(env: Environment): void {
  env
    .registerFunction(
      'string.find(string): string',
      (text: string, p: string) => new RegExp(p, 'u').exec(text)?.[0] ?? '',
    )
    .registerFunction('string.findAll(string): list<string>', (text: string, p: string) =>
      [...text.matchAll(new RegExp(p, 'gu'))].map(([found]) => found),
    );
}
