import type { CniResponse } from '../api/cni.ts';

/** The agent's answer, or undefined when the text is none. Written by hand: a schema library would double the plugin's start. */
export function readAnswer(text: string): CniResponse | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const { error, result, ok } = value;
  if (isObject(error))
    return typeof error['code'] === 'number' && typeof error['msg'] === 'string' ? (value as CniResponse) : undefined;
  if (isObject(result)) return isResult(result) ? (value as CniResponse) : undefined;
  return ok === true ? { ok } : undefined;
}

const isResult = (result: Fields): boolean =>
  isListOf(result['interfaces'], (i) => typeof i['name'] === 'string') &&
  isListOf(result['ips'], (ip) => typeof ip['address'] === 'string') &&
  isListOf(result['routes'], (route) => typeof route['dst'] === 'string') &&
  isObject(result['dns']);

type Fields = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isListOf = (value: unknown, holds: (item: Fields) => boolean): boolean =>
  Array.isArray(value) && value.every((item: unknown) => isObject(item) && holds(item));
