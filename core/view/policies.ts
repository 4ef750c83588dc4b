import type { View } from './view.ts';
import { indexPolicies, type PolicyIndex } from '../policy/index.ts';
import { Profiles } from '../policy/profile.ts';

/** The policies of a view, indexed and resolved; worked out at the first question. */
export function policiesOf(view: View): { readonly index: PolicyIndex; readonly profiles: Profiles } {
  const known = worked.get(view);
  if (known) return known;
  const index = indexPolicies(view.state, latest?.index);
  const made = { index, profiles: new Profiles(index, latest?.profiles.groups) };
  latest = { profiles: made.profiles, index: { candidates: index.candidates } };
  worked.set(view, made);
  return made;
}

/** Views follow each other; most groups stay as they are from one to the next. */
let latest: { readonly profiles: Profiles; readonly index: Pick<PolicyIndex, 'candidates'> } | undefined;

const worked = new WeakMap<View, ReturnType<typeof policiesOf>>();
