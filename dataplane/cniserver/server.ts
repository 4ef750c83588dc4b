import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { CNI_ERRORS, type CniRequest, type CniResponse } from '../../api/cni.ts';
import type { Attachments } from '../attach/attachments.ts';
import { AttachError } from '../attach/error.ts';

/** Told of every verb: how long it took, and what went wrong. */
export type CniLog = (request: CniRequest, ms: number, error: unknown) => void;

/** Serves the plugin on a unix socket: one line of JSON in, one line out, for each connection. */
export class CniServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #log: CniLog;
  readonly #attachments: Attachments;
  readonly #ready: () => string | undefined;

  private constructor(attachments: Attachments, ready: () => string | undefined, log: CniLog) {
    this.#attachments = attachments;
    this.#ready = ready;
    this.#log = log;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  /** @param ready what is missing before pods can be attached; undefined when nothing is */
  static async listen(
    path: string,
    attachments: Attachments,
    ready: () => string | undefined,
    log: CniLog,
  ): Promise<CniServer> {
    const server = new CniServer(attachments, ready, log);
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    rmSync(path, { force: true }); // what an agent that was killed left behind
    await new Promise<void>((resolve, reject) => server.#server.once('error', reject).listen(path, resolve));
    chmodSync(path, 0o600);
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(socket: Socket): void {
    let text = '';
    socket.setEncoding('utf8');
    socket.on('error', () => socket.destroy()); // the plugin was killed: what was begun is undone by DEL
    socket.on('data', (chunk: string) => {
      text += chunk;
      const end = text.indexOf('\n');
      if (end < 0) return;
      const line = text.slice(0, end);
      text = '';
      void this.#answer(line).then((response) => socket.end(`${JSON.stringify(response)}\n`));
    });
  }

  async #answer(line: string): Promise<CniResponse> {
    let request: CniRequest;
    try {
      request = JSON.parse(line) as CniRequest;
    } catch {
      return {
        error: {
          code: CNI_ERRORS.Decoding,
          msg: 'the request is not JSON: plugin and agent are of different versions',
        },
      };
    }
    const started = performance.now();
    try {
      const response = await this.#dispatch(request);
      this.#log(request, performance.now() - started, undefined);
      return response;
    } catch (error) {
      this.#log(request, performance.now() - started, error);
      if (error instanceof AttachError)
        return {
          error: {
            code: error.code,
            msg: error.message,
            ...(error.details === undefined ? {} : { details: error.details }),
          },
        };
      return { error: { code: CNI_ERRORS.Kernel, msg: error instanceof Error ? error.message : String(error) } };
    }
  }

  async #dispatch(request: CniRequest): Promise<CniResponse> {
    switch (request.verb) {
      case 'ADD':
        return { result: await this.#attachments.add(request) };
      case 'DEL':
        await this.#attachments.delete(request);
        return { ok: true };
      case 'CHECK':
        await this.#attachments.check(request);
        return { ok: true };
      case 'GC': {
        const valid = request.config['cni.dev/valid-attachments'];
        if (Array.isArray(valid)) this.#attachments.collect(valid as { containerID: string; ifname: string }[]);
        return { ok: true };
      }
      case 'PODS':
        return {
          pods: [...this.#attachments.all]
            .filter((a) => a.parent === undefined)
            .map(({ namespace, pod, uid, network, netns, ips }) => ({
              namespace,
              name: pod,
              uid,
              network,
              netns,
              ips,
            })),
        };
      case 'STATUS': {
        const missing = this.#ready();
        if (missing !== undefined) throw new AttachError(CNI_ERRORS.PluginNotAvailable, missing);
        return { ok: true };
      }
    }
  }
}
