import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { exec, ExecError } from '../../lib/exec/exec.ts';

/** A plugin said no, in the words of the spec. */
export class CniCallError extends Error {
  override readonly name = 'CniCallError';
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Which sandbox a verb is about. */
export type Sandbox = {
  readonly containerID: string;
  readonly netns: string;
  readonly ifname: string;
  readonly args: Readonly<Record<string, string>>;
  /** Passed to plugins with the capability portMappings. */
  readonly portMappings?: readonly {
    readonly hostPort: number;
    readonly containerPort: number;
    readonly protocol: string;
    readonly hostIP: string;
  }[];
};

/** What ADD gave: as far as a kubelet reads it. */
export type CniAddResult = { readonly ips: readonly { readonly address: string }[]; readonly [field: string]: unknown };

type Conflist = {
  readonly cniVersion: string;
  readonly cniVersions?: readonly string[];
  readonly name: string;
  readonly plugins: readonly (Readonly<Record<string, unknown>> & { readonly type: string })[];
};

/** Calls plugins as libcni does: the first configuration of the folder, each plugin of its list in turn. */
export class Cni {
  readonly #confDir: string;
  readonly #binDir: string;
  readonly #results = new Map<string, CniAddResult>();

  constructor(confDir: string, binDir: string) {
    this.#confDir = confDir;
    this.#binDir = binDir;
  }

  /** Undefined while no network is configured. */
  conflist(): Conflist | undefined {
    let names: string[];
    try {
      names = readdirSync(this.#confDir);
    } catch {
      return undefined;
    }
    const [first] = names.filter((n) => n.endsWith('.conflist')).sort();
    return first === undefined ? undefined : (JSON.parse(readFileSync(join(this.#confDir, first), 'utf8')) as Conflist);
  }

  async add(sandbox: Sandbox): Promise<CniAddResult> {
    const list = this.#must();
    let result: unknown;
    for (const plugin of list.plugins)
      result = await this.#call('ADD', list, plugin, sandbox, result === undefined ? {} : { prevResult: result });
    this.#results.set(sandbox.containerID, result as CniAddResult);
    return result as CniAddResult;
  }

  async delete(sandbox: Sandbox): Promise<void> {
    const list = this.#must();
    const prevResult = this.#results.get(sandbox.containerID);
    for (const plugin of [...list.plugins].reverse())
      await this.#call('DEL', list, plugin, sandbox, prevResult ? { prevResult } : {});
    this.#results.delete(sandbox.containerID);
  }

  async status(): Promise<void> {
    const list = this.#must();
    for (const plugin of list.plugins) await this.#call('STATUS', list, plugin, undefined, {});
  }

  async collect(valid: readonly { readonly containerID: string; readonly ifname: string }[]): Promise<void> {
    const list = this.#must();
    for (const plugin of list.plugins)
      await this.#call('GC', list, plugin, undefined, {
        'cni.dev/valid-attachments': valid,
        'cni.dev/attachments': valid,
      });
  }

  #must(): Conflist {
    const list = this.conflist();
    if (!list) throw new CniCallError(50, `no network is configured in ${this.#confDir}`);
    return list;
  }

  async #call(
    command: string,
    list: Conflist,
    plugin: Conflist['plugins'][number],
    sandbox: Sandbox | undefined,
    extra: object,
  ): Promise<unknown> {
    const capabilities = plugin['capabilities'] as { portMappings?: boolean } | undefined;
    const runtimeConfig =
      capabilities?.portMappings === true && sandbox?.portMappings
        ? { runtimeConfig: { portMappings: sandbox.portMappings } }
        : {};
    // As libcni does since 1.2: the highest version of the list.
    const cniVersion = [...(list.cniVersions ?? [list.cniVersion])].sort().at(-1);
    const input = JSON.stringify({ ...plugin, ...extra, ...runtimeConfig, name: list.name, cniVersion });
    const env = {
      CNI_COMMAND: command,
      CNI_PATH: this.#binDir,
      PATH: process.env['PATH'],
      ...(sandbox
        ? {
            CNI_CONTAINERID: sandbox.containerID,
            CNI_NETNS: sandbox.netns,
            CNI_IFNAME: sandbox.ifname,
            CNI_ARGS: Object.entries(sandbox.args)
              .map(([k, v]) => `${k}=${v}`)
              .join(';'),
          }
        : {}),
    };
    try {
      const { stdout } = await exec([join(this.#binDir, plugin.type)], { input, env });
      return stdout === '' ? undefined : JSON.parse(stdout);
    } catch (error) {
      if (!(error instanceof ExecError) || error.code !== 'Failed') throw error;
      let body: { code?: number; msg?: string; details?: string };
      try {
        body = JSON.parse(error.result.stdout) as typeof body;
      } catch {
        throw error;
      }
      throw new CniCallError(
        body.code ?? 999,
        `plugin type="${plugin.type}" failed (${command.toLowerCase()}): ${body.msg ?? ''}`,
      );
    }
  }
}
