import type { Problem } from '../cel/rules.ts';
import { type Json, num, str } from '../model/path.ts';

export const isPort = (v: unknown): boolean => Number.isInteger(v) && num(v) >= 1 && num(v) <= 65_535;

/** A number, or a name as containers give their ports. */
export function portProblem(value: unknown): string | undefined {
  if (typeof value === 'string')
    return /^(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/.test(value) && value.length <= 15
      ? undefined
      : `"${value}" is no name of a port: at most 15 lower-case letters, digits and single '-', with a letter among them`;
  return isPort(value) ? undefined : `${JSON.stringify(value)} must be between 1 and 65535, inclusive`;
}

export const checkProtocol = (p: Json, field: string): Problem[] =>
  p['protocol'] === undefined || ['TCP', 'UDP', 'SCTP'].includes(str(p['protocol']))
    ? []
    : [{ field, message: `${JSON.stringify(p['protocol'])} is not TCP, UDP or SCTP` }];

/** Tells of each value that came before. */
export function duplicates(values: readonly (string | undefined)[], field: (index: number) => string): Problem[] {
  const seen = new Set<string>();
  return values.flatMap((value, i): Problem[] => {
    if (value === undefined || value === '') return [];
    if (seen.has(value)) return [{ field: field(i), message: `duplicate value: "${value}"` }];
    seen.add(value);
    return [];
  });
}

/** A value that is none of those that are allowed. */
export const unsupported = (field: string, value: unknown, allowed: readonly string[]): Problem[] =>
  value === undefined || allowed.includes(str(value))
    ? []
    : [
        {
          field,
          message: `unsupported value: ${JSON.stringify(value)}: supported values: ${allowed.map((a) => `"${a}"`).join(', ')}`,
        },
      ];
