import { CNI_ERRORS, type CniErrorBody, type CniRequest, type CniResponse } from '../api/cni.ts';
import { parseJson } from '../lib/text/json.ts';
import { isSupported, resultFor, versionResult } from './spec.ts';

/** What a process is to the plugin: parameters, so that it can be tested without one. */
export type CniProcess = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readStdin: () => string;
  readonly ask: (socket: string | undefined, request: CniRequest) => Promise<CniResponse>;
};

/** What to print, and how to exit. */
export type CniOutcome = { readonly stdout: string; readonly exitCode: 0 | 1 };

const VERBS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS'] as const;

/** Carries out one call of the plugin. Never throws. */
export async function runPlugin(process: CniProcess): Promise<CniOutcome> {
  let version = '1.1.0';
  try {
    const command = process.env['CNI_COMMAND'] ?? '';
    const config = readConfig(process.readStdin());
    const asked = config['cniVersion'];
    if (typeof asked === 'string') version = asked;
    if (command === 'VERSION') return success(versionResult(version));
    if (!isSupported(version)) {
      const supported = version;
      version = '1.1.0';
      throw new PluginError(
        CNI_ERRORS.IncompatibleVersion,
        `cniVersion ${supported} is not supported; use 0.3.0 to 1.1.0`,
      );
    }
    const verb = VERBS.find((v) => v === command);
    if (!verb)
      throw new PluginError(
        CNI_ERRORS.InvalidEnvironment,
        `CNI_COMMAND is "${command}"; must be ADD, DEL, CHECK, GC, STATUS or VERSION`,
      );
    const request = readRequest(verb, process.env, config);
    const socket = config['socket'];
    const response = await process.ask(typeof socket === 'string' ? socket : undefined, request);
    if ('error' in response) return failure(version, response.error);
    return 'result' in response ? success(resultFor(version, response.result)) : { stdout: '', exitCode: 0 };
  } catch (error) {
    if (error instanceof PluginError) return failure(version, { code: error.code, msg: error.message });
    return failure(version, { code: CNI_ERRORS.Io, msg: error instanceof Error ? error.message : String(error) });
  }
}

/** A call that cannot be carried out. `code` as in the spec. */
export class PluginError extends Error {
  override readonly name = 'PluginError';
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

function readConfig(stdin: string): Record<string, unknown> {
  if (stdin.trim() === '')
    throw new PluginError(CNI_ERRORS.InvalidConfig, 'no network configuration on standard input');
  let config: unknown;
  try {
    config = parseJson(stdin);
  } catch (error) {
    throw new PluginError(
      CNI_ERRORS.Decoding,
      `the network configuration cannot be read as JSON: ${(error as Error).message}`,
    );
  }
  if (typeof config !== 'object' || config === null || Array.isArray(config))
    throw new PluginError(CNI_ERRORS.Decoding, 'the network configuration is not a JSON object');
  return config as Record<string, unknown>;
}

function readRequest(verb: CniRequest['verb'], env: CniProcess['env'], config: Record<string, unknown>): CniRequest {
  const {
    CNI_CONTAINERID: containerID = '',
    CNI_NETNS: netns = '',
    CNI_IFNAME: ifname = '',
    CNI_ARGS: args = '',
  } = env;
  const perContainer = verb === 'ADD' || verb === 'DEL' || verb === 'CHECK';
  const missing = perContainer
    ? [...(containerID === '' ? ['CNI_CONTAINERID'] : []), ...(ifname === '' ? ['CNI_IFNAME'] : [])]
    : [];
  // DEL works without a namespace: it may be gone since a reboot.
  if ((verb === 'ADD' || verb === 'CHECK') && netns === '') missing.push('CNI_NETNS');
  if (missing.length > 0)
    throw new PluginError(CNI_ERRORS.InvalidEnvironment, `environment variables are missing: ${missing.join(', ')}`);
  if (perContainer && !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(containerID))
    throw new PluginError(
      CNI_ERRORS.InvalidEnvironment,
      `CNI_CONTAINERID "${containerID}" has characters that the spec forbids`,
    );
  if (perContainer && !/^[^/\s:]{1,15}$/.test(ifname))
    throw new PluginError(
      CNI_ERRORS.InvalidEnvironment,
      `CNI_IFNAME "${ifname}" is no interface name of at most 15 characters`,
    );
  return { verb, containerID, netns, ifname, args: parseArgs(args), config };
}

/** "K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop" */
function parseArgs(text: string): Record<string, string> {
  const args: Record<string, string> = {};
  for (const pair of text.split(';')) {
    const at = pair.indexOf('=');
    if (at > 0) args[pair.slice(0, at)] = pair.slice(at + 1);
  }
  return args;
}

const success = (value: object): CniOutcome => ({ stdout: `${JSON.stringify(value)}\n`, exitCode: 0 });
const failure = (cniVersion: string, error: CniErrorBody): CniOutcome => ({
  stdout: `${JSON.stringify({ cniVersion, ...error })}\n`,
  exitCode: 1,
});
