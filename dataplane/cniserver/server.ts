import { DepthError, parseJson } from '../../lib/text/json.ts';
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { type CniErrorBody, CNI_ERRORS, type CniRequest, type CniResponse } from '../../api/cni.ts';
import { cniRequest, validAttachments } from '../../api/cni-request.ts';
import type { Attachments } from '../attach/attachments.ts';
import { AttachError } from '../attach/error.ts';

/** A request and its network configuration; containerd's is some kilobytes. */
const MAX_LINE = 1 << 20;
/** The plugin writes its line at once. */
const LINE_MS = 10_000;
/** The runtime starts far fewer pods at once. */
const MAX_CONNECTIONS = 1_024;
const NEWLINE = 10;

/** Gets every verb: how long it took, and what went wrong. */
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
    this.#server.maxConnections = MAX_CONNECTIONS;
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
    const chunks: Buffer[] = [];
    let length = 0;
    let asked = false;
    const end = (response: CniResponse): void => void socket.end(`${JSON.stringify(response)}\n`);
    const timer = setTimeout(() => socket.destroy(), LINE_MS);
    socket.on('close', () => clearTimeout(timer));
    socket.on('error', () => socket.destroy()); // the plugin was killed: what was begun is undone by DEL
    socket.on('data', (chunk: Buffer) => {
      if (asked) return;
      const at = chunk.indexOf(NEWLINE);
      chunks.push(at < 0 ? chunk : chunk.subarray(0, at));
      length += chunk.length;
      if (at < 0 && length <= MAX_LINE) return;
      asked = true;
      clearTimeout(timer);
      if (length > MAX_LINE) {
        end(refusal(`the request is longer than ${MAX_LINE} bytes`));
        return;
      }
      this.#answer(Buffer.concat(chunks).toString()).then(end, (error: unknown) => {
        end({ error: { code: CNI_ERRORS.Io, msg: `the agent could not answer: ${String(error)}` } });
      });
    });
  }

  async #answer(line: string): Promise<CniResponse> {
    const request = readRequest(line);
    if ('error' in request) return request;
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
        // A list that cannot be read frees nothing.
        const valid = validAttachments.safeParse(request.config['cni.dev/valid-attachments']);
        if (valid.success) this.#attachments.collect(valid.data);
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

/** The request in a line, or the answer that says why it is none. */
function readRequest(line: string): CniRequest | Extract<CniResponse, { readonly error: unknown }> {
  let value: unknown;
  try {
    value = parseJson(line);
  } catch (error) {
    if (error instanceof DepthError) return refusal(`the network configuration cannot be read: ${error.message}`);
    return refusal('the request is not JSON: plugin and agent are of different versions');
  }
  const parsed = cniRequest.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues
    .slice(0, 5)
    .map((i) => `${i.path.map(String).join('.') || 'request'}: ${i.message}`);
  return refusal(`the request cannot be read (${problems.join('; ')}): plugin and agent are of different versions`);
}

const refusal = (msg: string): { readonly error: CniErrorBody } => ({ error: { code: CNI_ERRORS.Decoding, msg } });
