/** `error`: it cannot be meant. `warning`: it is hardly meant. `info`: worth knowing, and no mistake. */
export const SEVERITIES = ['error', 'warning', 'info'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** Every code of `bulkhead policy lint`, with the severity that it usually has. What each means is in pages.ts. */
export const LINT_CODES = {
  Unreadable: { severity: 'error' },
  UnusedDirection: { severity: 'error' },
  OverBudget: { severity: 'error' },
  NotJudged: { severity: 'warning' },
  SelectsNothing: { severity: 'warning' },
  MatchesNothing: { severity: 'warning' },
  NoSuchNamespace: { severity: 'warning' },
  EmptyBlock: { severity: 'warning' },
  EmptyList: { severity: 'warning' },
  NoSuchPort: { severity: 'warning' },
  ServicePort: { severity: 'warning' },
  ServiceByAddress: { severity: 'warning' },
  PodByAddress: { severity: 'warning' },
  NoDNS: { severity: 'warning' },
  NeverDecides: { severity: 'warning' },
  DuplicateRule: { severity: 'warning' },
  DuplicatePolicy: { severity: 'warning' },
  EqualPriority: { severity: 'warning' },
  OpenToTheWorld: { severity: 'info' },
  HostNetwork: { severity: 'info' },
  MadeAtRunTime: { severity: 'info' },
  NoPods: { severity: 'info' },
  Finished: { severity: 'info' },
} as const satisfies Readonly<Record<string, { readonly severity: Severity }>>;

export type LintCode = keyof typeof LINT_CODES;

export const isLintCode = (text: string): text is LintCode => Object.hasOwn(LINT_CODES, text);
