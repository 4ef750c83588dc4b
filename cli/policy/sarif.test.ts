import { Ajv } from 'ajv';
import { describe, expect, test } from 'vitest';
import { LINT_CODES } from '../../core/lint/codes.ts';
import type { Finding } from '../../core/lint/finding.ts';
import { sarifOf } from './sarif.ts';

/**
 * What SARIF 2.1.0 (sections 3.13 to 3.52) and code hosts ask of the parts that lint writes. The published schema says the same of
 * these parts; the log was held against it when this was written.
 */
const text = { type: 'object', required: ['text'], properties: { text: { type: 'string', minLength: 1 } } };
const level = { enum: ['none', 'note', 'warning', 'error'] };
const SCHEMA = {
  type: 'object',
  required: ['version', 'runs'],
  additionalProperties: false,
  properties: {
    $schema: { type: 'string', pattern: '^https://.*sarif-schema-2\\.1\\.0\\.json$' },
    version: { const: '2.1.0' },
    runs: {
      type: 'array',
      minItems: 1,
      items: {
        type: 'object',
        required: ['tool', 'results'],
        additionalProperties: false,
        properties: {
          tool: {
            type: 'object',
            required: ['driver'],
            additionalProperties: false,
            properties: {
              driver: {
                type: 'object',
                required: ['name'],
                additionalProperties: false,
                properties: {
                  name: { type: 'string' },
                  informationUri: { type: 'string' },
                  semanticVersion: { type: 'string', pattern: '^\\d+\\.\\d+\\.\\d+' },
                  rules: {
                    type: 'array',
                    uniqueItems: true,
                    items: {
                      type: 'object',
                      required: ['id'],
                      additionalProperties: false,
                      properties: {
                        id: { type: 'string' },
                        shortDescription: text,
                        fullDescription: text,
                        help: text,
                        defaultConfiguration: {
                          type: 'object',
                          additionalProperties: false,
                          properties: { level },
                        },
                      },
                    },
                  },
                },
              },
            },
          },
          columnKind: { enum: ['utf16CodeUnits', 'unicodeCodePoints'] },
          results: {
            type: 'array',
            items: {
              type: 'object',
              required: ['ruleId', 'ruleIndex', 'level', 'message', 'locations'],
              additionalProperties: false,
              properties: {
                ruleId: { type: 'string' },
                ruleIndex: { type: 'integer', minimum: 0 },
                level,
                message: text,
                partialFingerprints: { type: 'object', additionalProperties: { type: 'string' } },
                locations: {
                  type: 'array',
                  minItems: 1,
                  items: {
                    type: 'object',
                    additionalProperties: false,
                    properties: {
                      physicalLocation: {
                        type: 'object',
                        required: ['artifactLocation', 'region'],
                        properties: {
                          artifactLocation: {
                            type: 'object',
                            required: ['uri'],
                            properties: { uri: { type: 'string', pattern: '^[^ \\\\]+$' } },
                          },
                          region: {
                            type: 'object',
                            required: ['startLine'],
                            properties: { startLine: { type: 'integer', minimum: 1 } },
                          },
                        },
                      },
                      logicalLocations: {
                        type: 'array',
                        items: { type: 'object', properties: { fullyQualifiedName: { type: 'string' } } },
                      },
                    },
                  },
                },
              },
            },
          },
        },
      },
    },
  },
} as const;

const finding = (change: Partial<Finding> = {}): Finding => ({
  code: 'NoDNS',
  severity: 'warning',
  policy: 'NetworkPolicy x/p',
  path: 'spec.egress',
  message: 'lets no question to DNS out',
  ...change,
});
type Log = { runs: [{ results: Record<string, unknown>[]; tool: { driver: { rules: { id: string }[] } } }] };

describe('SARIF', () => {
  const valid = new Ajv({ strict: false, allErrors: true }).compile(SCHEMA);
  const check = (log: object): Log => {
    expect(valid(log) ? [] : valid.errors).toEqual([]);
    return log as Log;
  };

  test('every code is a rule, and a result names its own by place', () => {
    const codes = Object.keys(LINT_CODES) as Finding['code'][];
    const log = check(
      sarifOf(
        codes.map((code) => finding({ code })),
        () => undefined,
        '0.1.0+abc',
      ),
    );
    const { rules } = log.runs[0].tool.driver;
    expect(rules.map((r) => r.id)).toEqual(codes);
    for (const result of log.runs[0].results) expect(rules[Number(result['ruleIndex'])]?.id).toBe(result['ruleId']);
  });

  test('nothing found is an empty list, which closes what was open', () => {
    expect(check(sarifOf([], () => undefined, 'dev')).runs[0].results).toEqual([]);
  });

  test('severities, file and line', () => {
    const findings = [
      finding({ severity: 'error' }),
      finding({ severity: 'info', path: '' }),
      finding({ message: 'änderung "x"' }),
    ];
    const places = [{ file: './my files/a.yaml', line: 7 }, undefined, { file: '/srv/b.yaml', line: 1 }];
    const log = check(sarifOf(findings, (f) => places[findings.indexOf(f)], 'dev'));
    expect(log.runs[0].results.map((r) => r['level'])).toEqual(['error', 'note', 'warning']);
    expect(log.runs[0].results[0]).toMatchObject({
      message: { text: 'NetworkPolicy x/p spec.egress: lets no question to DNS out' },
      locations: [{ physicalLocation: { artifactLocation: { uri: 'my%20files/a.yaml' }, region: { startLine: 7 } } }],
    });
    expect(log.runs[0].results[1]?.['locations']).toEqual([
      { logicalLocations: [{ fullyQualifiedName: 'NetworkPolicy x/p' }] },
    ]);
    expect(log.runs[0].results[2]).toMatchObject({
      locations: [{ physicalLocation: { artifactLocation: { uri: 'file:///srv/b.yaml' } } }],
    });
  });
});
