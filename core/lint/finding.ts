import type { LintCode, Severity } from './codes.ts';

/** One thing about a policy. */
export type Finding = {
  readonly code: LintCode;
  readonly severity: Severity;
  /** "NetworkPolicy ns/name"; of objects that are no policies here, their kind. */
  readonly policy: string;
  /** Of the field: "spec.ingress[0].from[1]"; "" for the object. */
  readonly path: string;
  readonly message: string;
};

/** Makes a finding about the policy at hand. */
export type Say = (code: LintCode, path: string, message: string, severity?: Severity) => Finding;
