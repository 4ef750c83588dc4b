import type { Finding } from '../../core/lint/finding.ts';

/** Where a finding is in the files of the input; undefined when there are none. */
export type PlaceOf = (finding: Finding) => { readonly file: string; readonly line: number } | undefined;
