import type { Finding } from '../../core/lint/finding.ts';
import type { Located } from '../../lib/manifests/read.ts';

/** Where a finding is in the files of the input; undefined when there are none. */
export type PlaceOf = (finding: Finding) => { readonly file: string; readonly line: number } | undefined;

/** Places in the manifests that policies, by policyKey, are written in. */
export function placesIn(policies: ReadonlyMap<string, Located>): PlaceOf {
  return ({ policy, path }) => {
    const written = policies.get(policy);
    return written && { file: written.file, line: written.lineOf(stepsOf(path)) };
  };
}

/** "spec.ingress[0].from" as spec, ingress, 0, from. */
const stepsOf = (path: string): (string | number)[] =>
  [...path.matchAll(/\[(\d+)\]|[^.[\]]+/g)].map(([name, index]) => (index === undefined ? name : Number(index)));
