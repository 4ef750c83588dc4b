import { DepthError, parseJson } from '../../lib/text/json.ts';
import { overBudget } from '../../api/budgets.ts';
import { NETWORKS } from '../../api/names.ts';
import { annotationOverBudget } from './annotations.ts';
import type { Strings } from '../cluster/state.ts';
import { canonicalMac, parseIps } from './address-requests.ts';

/** One more interface that a pod asks for. */
export type InterfaceRequest = {
  readonly namespace: string;
  readonly name: string;
  readonly ifname: string;
  readonly ips: readonly string[];
  readonly mac: string | undefined;
};

/** Fields of the JSON form that say something we cannot do: silently doing less would be worse than refusing. */
const UNSUPPORTED = ['default-route', 'bandwidth', 'portMappings', 'infiniband-guid'];

/** What the annotation comes to. `overBudget`: why nothing of it was read; see api/budgets.ts. */
export type ParsedInterfaces = {
  readonly interfaces: readonly InterfaceRequest[];
  readonly problems: readonly string[];
  readonly overBudget?: string;
};

/**
 * Reads `k8s.v1.cni.cncf.io/networks` in its short and its JSON form (Network Custom Resource Definition De-facto Standard 1.3,
 * section 4.1.2). All problems at once.
 */
export function parseInterfaces(annotations: Strings, ownNamespace: string): ParsedInterfaces {
  if (annotations[NETWORKS] === undefined) return { interfaces: [], problems: [] };
  const known = parsed.get(annotations);
  if (known?.namespace === ownNamespace) return known.result;
  const result = parse(annotations, ownNamespace);
  parsed.set(annotations, { namespace: ownNamespace, result });
  return result;
}

/** A pod's annotations never change: a change makes a new pod. */
const parsed = new WeakMap<Strings, { readonly namespace: string; readonly result: ParsedInterfaces }>();

function parse(annotations: Strings, ownNamespace: string): ParsedInterfaces {
  const tooLong = annotationOverBudget(annotations, NETWORKS);
  if (tooLong !== undefined) return { interfaces: [], problems: [], overBudget: tooLong };
  const text = (annotations[NETWORKS] ?? '').trim();
  if (text === '') return { interfaces: [], problems: [] };
  const problems: string[] = [];
  const raw = text.startsWith('[') || text.startsWith('{') ? readJson(text, problems) : readShort(text);
  const tooMany = overBudget('interfaces', raw.length, 'interfaces');
  if (tooMany !== undefined) return { interfaces: [], problems: [], overBudget: `annotation ${NETWORKS} ${tooMany}` };
  const interfaces = raw.map((entry, i) => readEntry(entry, i, ownNamespace, problems));
  const names = new Set<string>();
  for (const { ifname } of interfaces) {
    if (names.has(ifname)) problems.push(`interface ${ifname} is asked for twice`);
    names.add(ifname);
  }
  return { interfaces, problems: problems.map((p) => `annotation ${NETWORKS}: ${p}`) };
}

type Entry = Readonly<Record<string, unknown>>;

function readJson(text: string, problems: string[]): Entry[] {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (error) {
    problems.push(`${error instanceof DepthError ? 'cannot be read' : 'is no JSON'}: ${(error as Error).message}`);
    return [];
  }
  const isEntry = (v: unknown): v is Entry => typeof v === 'object' && v !== null && !Array.isArray(v);
  if (Array.isArray(value) && value.every(isEntry)) return value;
  problems.push('must be a list of objects, or names by comma');
  return [];
}

/** "namespace/name@interface", by comma. */
const readShort = (text: string): Entry[] =>
  text.split(',').map((part) => {
    const [path = '', ...ifname] = part.trim().split('@');
    const [first = '', ...rest] = path.split('/');
    return {
      ...(rest.length > 0 ? { namespace: first, name: rest.join('/') } : { name: first }),
      ...(ifname.length > 0 ? { interface: ifname.join('@') } : {}),
    };
  });

function readEntry(entry: Entry, index: number, ownNamespace: string, problems: string[]): InterfaceRequest {
  const at = `entry ${index + 1}`;
  const text = (field: string, fallback: string): string => {
    const value = isAbsent(entry[field]) ? fallback : entry[field];
    if (typeof value === 'string') return value;
    problems.push(`${at}: ${field} must be text`);
    return fallback;
  };
  const name = text('name', '');
  const namespace = text('namespace', ownNamespace);
  const ifname = text('interface', `net${index + 1}`);
  if (!NAME.test(name)) problems.push(`${at}: "${name}" is no name of a network; write "name" or "namespace/name"`);
  if (!NAME.test(namespace)) problems.push(`${at}: "${namespace}" is no name of a namespace`);
  // As the kernel has it: dev_valid_name().
  if (!/^[^\s/:]{1,15}$/.test(ifname) || ['.', '..', 'lo', 'eth0', 'all', 'default'].includes(ifname))
    problems.push(`${at}: "${ifname}" cannot be the name of an extra interface`);
  for (const field of UNSUPPORTED) if (!isAbsent(entry[field])) problems.push(`${at}: ${field} is not supported`);
  const ips = readIps(entry['ips'], at, problems);
  const macText = isAbsent(entry['mac']) ? undefined : entry['mac'];
  const mac = typeof macText === 'string' ? canonicalMac(macText) : undefined;
  if (macText !== undefined && mac === undefined)
    problems.push(`${at}: mac is no unicast MAC address such as 02:00:00:00:00:01`);
  return { namespace, name, ifname, ips, mac };
}

function readIps(value: unknown, at: string, problems: string[]): string[] {
  if (isAbsent(value)) return [];
  if (!Array.isArray(value) || !value.every((v) => typeof v === 'string')) {
    problems.push(`${at}: ips must be a list of addresses`);
    return [];
  }
  const read = parseIps(value);
  problems.push(...read.problems.map((p) => `${at}: ${p}`));
  return read.ips;
}

/** Programs in Go write empty values for what was never set. */
const isAbsent = (value: unknown): boolean =>
  value === undefined || value === null || value === '' || (Array.isArray(value) && value.length === 0);

const NAME = /^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/;
