import { PROTOCOLS, type Protocol } from '../../api/nodeconfig.ts';
import { canonicalIp } from '../../lib/ip/address.ts';
import { addressOfEnd } from './end-address.ts';

/** One end of a connection as people write it: parsed, and not looked up yet. */
export type EndText = {
  readonly text: string;
  readonly place: EndPlace;
  readonly port?: number | string;
  readonly protocol?: Protocol | 'ICMP';
};

export type EndPlace =
  | { readonly kind: 'Address'; readonly ip: string }
  | { readonly kind: 'Api' }
  | { readonly kind: 'Internet' }
  | { readonly kind: 'Node'; readonly name: string }
  | { readonly kind: 'Pod' | 'Service' | 'Any'; readonly namespace: string; readonly name: string }
  | { readonly kind: 'Workload'; readonly workload: string; readonly namespace: string; readonly name: string };

/** Every form that is taken, for help and error messages. */
export const END_FORMS =
  'NAMESPACE/POD, svc/NAMESPACE/NAME, node/NAME, api, internet, an IP address, or a workload such as deploy/NAMESPACE/NAME; then :PORT (a number or a name), then /tcp, /udp, /sctp or /icmp';

/** Short and long names, as kubectl takes them. */
const KINDS: Readonly<Record<string, 'Pod' | 'Service' | 'Node' | { readonly workload: string }>> = {
  ...alias('Pod', 'po', 'pod', 'pods'),
  ...alias('Service', 'svc', 'service', 'services'),
  ...alias('Node', 'no', 'node', 'nodes'),
  ...alias({ workload: 'Deployment' }, 'deploy', 'deployment', 'deployments'),
  ...alias({ workload: 'StatefulSet' }, 'sts', 'statefulset', 'statefulsets'),
  ...alias({ workload: 'DaemonSet' }, 'ds', 'daemonset', 'daemonsets'),
  ...alias({ workload: 'ReplicaSet' }, 'rs', 'replicaset', 'replicasets'),
  ...alias({ workload: 'ReplicationController' }, 'rc', 'replicationcontroller', 'replicationcontrollers'),
  ...alias({ workload: 'Job' }, 'job', 'jobs'),
  ...alias({ workload: 'CronJob' }, 'cj', 'cronjob', 'cronjobs'),
  ...alias({ workload: 'Rollout' }, 'ro', 'rollout', 'rollouts'),
  ...alias({ workload: 'DeploymentConfig' }, 'dc', 'deploymentconfig', 'deploymentconfigs'),
};

function alias<T>(kind: T, ...names: readonly string[]): Record<string, T> {
  return Object.fromEntries(names.map((n) => [n, kind]));
}

/** Reads an end. `problems`: all that is wrong with it, each in words; empty when it can be read. */
export function parseEnd(
  text: string,
  { namespace = 'default' }: { readonly namespace?: string } = {},
): { readonly end?: EndText; readonly problems: readonly string[] } {
  const problems: string[] = [];
  const bare = addressOfEnd(text);
  if (bare)
    return 'ip' in bare
      ? { end: { text, place: { kind: 'Address', ip: bare.ip } }, problems }
      : { problems: [`${text}: ${bare.problem}`] };
  const { head, port: portText, rest } = cut(text);
  const words = head.split('/');
  const tail = rest ?? (portText === undefined ? trailingProtocol(words) : undefined);
  const protocol = readProtocol(tail, problems);
  const port = readPort(portText, problems);
  if (protocol === 'ICMP' && port !== undefined) problems.push(`${protocol} has no ports: leave :${port} out`);
  const place = readPlace(words, namespace, problems);
  if (!place || problems.length > 0)
    return { problems: problems.map((p) => `${text === '' ? '(nothing)' : text}: ${p}`) };
  return {
    end: {
      text,
      place,
      ...(port === undefined ? {} : { port }),
      ...(protocol === undefined ? {} : { protocol }),
    },
    problems,
  };
}

/** Whether a text is an address, which may be one of a node that only its agent knows. */
export const namesAddress = (text: string): boolean => parseEnd(text).end?.place.kind === 'Address';

/** "head:port/rest", where the head may be an IPv6 address in brackets. */
function cut(text: string): { head: string; port?: string; rest?: string } {
  const [, bracketed, after = ''] = /^\[([^\]]*)\](.*)$/.exec(text) ?? [];
  if (bracketed !== undefined) {
    const [, port, rest] = /^(?::([^/]*))?(?:\/(.*))?$/.exec(after) ?? [];
    if (after !== '' && port === undefined && rest === undefined) return { head: text };
    return { head: `[${bracketed}]`, ...(port === undefined ? {} : { port }), ...(rest === undefined ? {} : { rest }) };
  }
  const colon = text.indexOf(':');
  if (colon < 0) return { head: text };
  const [port = '', ...rest] = text.slice(colon + 1).split('/');
  return { head: text.slice(0, colon), port, ...(rest.length > 0 ? { rest: rest.join('/') } : {}) };
}

/** Takes a protocol off the end of words such as "node/n1/icmp": what is left must be a whole place. */
function trailingProtocol(words: string[]): string | undefined {
  const last = words.at(-1) ?? '';
  if (!isProtocol(last)) return undefined;
  const first = KINDS[words[0] ?? ''];
  const alone = first === undefined && (ALONE.includes(words[0] ?? '') || isAddress(words[0] ?? ''));
  const least = alone ? 2 : first === undefined || first === 'Node' ? 3 : 4;
  if (words.length < least) return undefined;
  return words.pop();
}

const ALONE = ['api', 'internet'];
const isProtocol = (word: string): boolean => word.toUpperCase() === 'ICMP' || isTransport(word.toUpperCase());
const isTransport = (word: string): word is Protocol => PROTOCOLS.some((p) => p === word);
const isAddress = (word: string): boolean => canonicalIp(unbracketed(word)) !== undefined;

function readProtocol(word: string | undefined, problems: string[]): Protocol | 'ICMP' | undefined {
  if (word === undefined) return undefined;
  const known = word.toUpperCase();
  if (known === 'ICMP' || isTransport(known)) return known;
  problems.push(`protocol ${word || '(nothing)'} is not tcp, udp, sctp or icmp`);
  return undefined;
}

function readPort(word: string | undefined, problems: string[]): number | string | undefined {
  if (word === undefined || (word === '' && problems.length > 0)) return undefined;
  if (/^\d+$/.test(word)) {
    const number = Number(word);
    if (number >= 1 && number <= 65_535) return number;
    problems.push(`port ${word} is not from 1 to 65535`);
    return undefined;
  }
  if (/^(?=.*[a-z])[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(word) && word.length <= 63) return word;
  problems.push(`port ${word || '(nothing)'} is neither a number nor the name of a port`);
  return undefined;
}

function readPlace(words: readonly string[], namespace: string, problems: string[]): EndPlace | undefined {
  const [first = '', second = '', third] = words;
  const address = words.length === 1 ? addressOfEnd(unbracketed(first)) : undefined;
  if (address && 'ip' in address) return { kind: 'Address', ip: address.ip };
  if (address) {
    problems.push(address.problem);
    return undefined;
  }
  if (words.length === 1 && first === 'api') return { kind: 'Api' };
  if (words.length === 1 && first === 'internet') return { kind: 'Internet' };
  const wrong = (): undefined => {
    problems.push(`not an end of a connection; write ${END_FORMS}`);
    return undefined;
  };
  if (first.startsWith('[') || words.some((w) => !/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(w)) || words.length > 3)
    return wrong();
  const kind = words.length === 1 ? undefined : KINDS[first];
  if (kind === 'Node') return words.length === 2 ? { kind, name: second } : wrong();
  if (kind !== undefined) {
    const at = third === undefined ? { namespace, name: second } : { namespace: second, name: third };
    return typeof kind === 'string' ? { kind, ...at } : { kind: 'Workload', ...kind, ...at };
  }
  if (words.length === 3) return wrong();
  return words.length === 1 ? { kind: 'Any', namespace, name: first } : { kind: 'Any', namespace: first, name: second };
}

const unbracketed = (word: string): string => /^\[(.*)\]$/.exec(word)?.[1] ?? word;
