import { LINT_CODES, type LintCode, type Severity } from '../../core/lint/codes.ts';
import type { Finding } from '../../core/lint/finding.ts';
import { LINT_PAGES } from '../../core/lint/pages.ts';
import type { PlaceOf } from './places.ts';

const LEVELS = { error: 'error', warning: 'warning', info: 'note' } as const satisfies Record<Severity, string>;

/**
 * Findings as SARIF 2.1.0 (OASIS), which code hosts show in pull requests. Each has the file and line of its field; of a cluster, and
 * of what has no line, only the name of the object.
 */
export function sarifOf(findings: readonly Finding[], placeOf: PlaceOf, version: string): object {
  const codes = Object.keys(LINT_CODES) as LintCode[];
  return {
    $schema: 'https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: { driver: { name: 'bulkhead', semanticVersion: semantic(version), rules: codes.map(ruleOf) } },
        columnKind: 'utf16CodeUnits',
        results: findings.map((finding) => ({
          ruleId: finding.code,
          ruleIndex: codes.indexOf(finding.code),
          level: LEVELS[finding.severity],
          message: { text: `${finding.policy}${finding.path === '' ? '' : ` ${finding.path}`}: ${finding.message}` },
          locations: [locationOf(finding, placeOf)],
          // The same finding keeps its identity when lines move.
          partialFingerprints: { 'bulkhead/v1': `${finding.code} ${finding.policy} ${finding.path}` },
        })),
      },
    ],
  };
}

function ruleOf(code: LintCode): object {
  const { what, why } = LINT_PAGES[code];
  return {
    id: code,
    shortDescription: { text: what },
    fullDescription: { text: why },
    defaultConfiguration: { level: LEVELS[LINT_CODES[code].severity] },
  };
}

function locationOf(finding: Finding, placeOf: PlaceOf): object {
  const place = placeOf(finding);
  const logical = { fullyQualifiedName: `${finding.policy}${finding.path === '' ? '' : ` ${finding.path}`}` };
  return {
    ...(place
      ? {
          physicalLocation: {
            artifactLocation: { uri: uriOf(place.file) },
            region: { startLine: place.line },
          },
        }
      : {}),
    logicalLocations: [logical],
  };
}

/** Relative where the file was named so: code hosts join it with the repository. */
const uriOf = (file: string): string =>
  file.startsWith('/') ? `file://${encodePath(file)}` : encodePath(file.replace(/^\.\//, ''));

const encodePath = (path: string): string => path.split('/').map(encodeURIComponent).join('/');

/** "0.1.0+abc" is semantic already; anything else is left out. */
const semantic = (version: string): string | undefined =>
  /^\d+\.\d+\.\d+([-+].*)?$/.test(version) ? version : undefined;
