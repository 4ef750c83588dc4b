import { Agent, request } from 'undici';
import { KubeError } from './error.ts';
import { readWarnings } from './warning.ts';
import type { KubeAccess } from './kubeconfig.ts';

/** Any API object. */
export type KubeObject = {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObjectMeta;
  readonly [field: string]: unknown;
};
export type ObjectMeta = {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  readonly deletionTimestamp?: string;
  readonly [field: string]: unknown;
};
export type KubeList = {
  readonly metadata: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items: readonly KubeObject[];
};

/** Where a resource lives in the API: "" is the core group. */
export type Resource = { readonly group: string; readonly version: string; readonly plural: string };

export const core = (plural: string): Resource => ({ group: '', version: 'v1', plural });

/** "/apis/apps/v1/namespaces/x/deployments/y/status" */
export function pathOf(
  r: Resource,
  { namespace, name, subresource }: { namespace?: string; name?: string; subresource?: string } = {},
): string {
  const base = r.group === '' ? `/api/${r.version}` : `/apis/${r.group}/${r.version}`;
  const parts = [base, ...(namespace === undefined ? [] : ['namespaces', namespace]), r.plural];
  if (name !== undefined) parts.push(encodeURIComponent(name));
  if (subresource !== undefined) parts.push(subresource);
  return parts.join('/');
}

export type RequestOptions = {
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  /** Told each warning that comes with the answer, refusals included. */
  readonly onWarning?: (text: string) => void;
};

/** RFC 3339, whole seconds, as Kubernetes writes times. */
export const timestamp = (at = Date.now()): string => new Date(at).toISOString().replace(/\.\d+Z$/, 'Z');

export const MERGE_PATCH = 'application/merge-patch+json';
/** Lists of built-in kinds are merged by their keys. */
export const STRATEGIC_MERGE_PATCH = 'application/strategic-merge-patch+json';

/** An object of the API has at most some megabytes. */
const MAX_LINE = 32 << 20;

const connections = ({ ca, cert, key }: KubeAccess): Agent =>
  new Agent({
    connect: {
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      timeout: 5_000,
    },
    allowH2: false,
    headersTimeout: 35_000,
    bodyTimeout: 0,
    keepAliveTimeout: 30_000,
  });

/** Requests to one API server. HTTP/1.1, kept alive; a dead connection is noticed by its own time-outs. */
export class KubeClient implements AsyncDisposable {
  readonly #access: KubeAccess;
  #agent: Agent;

  constructor(access: KubeAccess) {
    this.#access = access;
    this.#agent = connections(access);
  }

  /**
   * Ends all connections, and with them what is under way on them; the next requests make new ones. For when the address that they were
   * made from is gone: nothing comes back to it, and each would wait for its time-out.
   */
  dropConnections(): void {
    const before = this.#agent;
    this.#agent = connections(this.#access);
    void before.destroy().catch(() => undefined);
  }

  /** Sends one request and reads its JSON. Throws {@link KubeError}. */
  async json<T = KubeObject>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    const response = await this.#send(method, path, { timeoutMs: 30_000, ...options });
    if (options.onWarning) for (const text of readWarnings(response.headers['warning'])) options.onWarning(text);
    const text = await response.body.text().catch((cause: unknown) => {
      throw new KubeError(`${method} ${path}: the answer broke off`, { status: 0, cause });
    });
    if (response.statusCode >= 300)
      throw failure(method, path, response.statusCode, text, response.headers['retry-after']);
    try {
      return JSON.parse(text) as T;
    } catch (cause) {
      throw new KubeError(`${method} ${path}: the answer is not JSON`, { status: 0, cause });
    }
  }

  /**
   * Reads an answer line by line, as watch and NDJSON streams send it. A cut line at the end is an error, and so is one of more than
   * `maxLine` characters.
   */
  async *lines(
    path: string,
    {
      onOpen,
      maxLine = MAX_LINE,
      ...options
    }: RequestOptions & { readonly onOpen?: () => void; readonly maxLine?: number } = {},
  ): AsyncGenerator<string> {
    const response = await this.#send('GET', path, options);
    if (response.statusCode >= 300)
      throw failure('GET', path, response.statusCode, await response.body.text(), response.headers['retry-after']);
    onOpen?.();
    let parts: string[] = [];
    let length = 0;
    const decoder = new TextDecoder();
    try {
      for await (const chunk of response.body) {
        const text = decoder.decode(chunk as Uint8Array, { stream: true });
        let start = 0;
        for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
          const line = parts.join('') + text.slice(start, end);
          [parts, length, start] = [[], 0, end + 1];
          if (line !== '') yield line;
        }
        const rest = text.slice(start);
        if (rest === '') continue;
        parts.push(rest);
        length += rest.length;
        if (length > maxLine) throw new RangeError(`a line is longer than ${maxLine} characters`);
      }
    } catch (cause) {
      if (cause instanceof RangeError) throw new KubeError(`GET ${path}: ${cause.message}`, { status: 0, cause });
      throw new KubeError(`GET ${path}: the stream broke off`, { status: 0, cause });
    }
    if (length > 0) throw new KubeError(`GET ${path}: the stream ended inside a line`, { status: 0 });
  }

  get(r: Resource, name: string, namespace?: string, options?: RequestOptions): Promise<KubeObject> {
    return this.json('GET', pathOf(r, { name, ...(namespace === undefined ? {} : { namespace }) }), options);
  }

  list(r: Resource, query?: RequestOptions['query'], namespace?: string): Promise<KubeList> {
    return this.json<KubeList>('GET', pathOf(r, namespace === undefined ? {} : { namespace }), query ? { query } : {});
  }

  create(r: Resource, object: KubeObject): Promise<KubeObject> {
    return this.json('POST', pathOf(r, inNamespaceOf(object)), { body: object });
  }

  /** Replaces the object; a Conflict when it has changed since its resourceVersion. */
  replace(r: Resource, object: KubeObject, subresource?: string): Promise<KubeObject> {
    return this.json(
      'PUT',
      pathOf(r, {
        ...inNamespaceOf(object),
        name: object.metadata.name,
        ...(subresource === undefined ? {} : { subresource }),
      }),
      { body: object },
    );
  }

  /** JSON merge patch (RFC 7386), unless another type is said. */
  patch(
    r: Resource,
    name: string,
    namespace: string | undefined,
    patch: unknown,
    { subresource, contentType = MERGE_PATCH }: { readonly subresource?: string; readonly contentType?: string } = {},
  ): Promise<KubeObject> {
    const path = pathOf(r, {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(subresource === undefined ? {} : { subresource }),
    });
    return this.json('PATCH', path, { body: patch, contentType });
  }

  delete(r: Resource, name: string, namespace?: string, body?: unknown): Promise<KubeObject> {
    return this.json(
      'DELETE',
      pathOf(r, { name, ...(namespace === undefined ? {} : { namespace }) }),
      body === undefined ? {} : { body },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }

  async #send(
    method: string,
    path: string,
    { query, body, contentType = 'application/json', signal, timeoutMs }: RequestOptions,
  ) {
    const search = new URLSearchParams();
    for (const [k, v] of Object.entries(query ?? {})) if (v !== undefined) search.set(k, String(v));
    const text = search.size > 0 ? `?${search.toString()}` : '';
    const signals = [...(signal ? [signal] : []), ...(timeoutMs === undefined ? [] : [AbortSignal.timeout(timeoutMs)])];
    const token = this.#access.token?.();
    try {
      return await request(`${this.#access.server}${path}${text}`, {
        method: method as 'GET',
        dispatcher: this.#agent,
        headers: {
          accept: 'application/json',
          ...(body === undefined ? {} : { 'content-type': contentType }),
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
        ...(signals.length > 0 ? { signal: AbortSignal.any(signals) } : {}),
      });
    } catch (cause) {
      // A DOMException's code is a number without meaning for a reader.
      const { name, code, message } = cause as NodeJS.ErrnoException;
      const detail = name === 'TimeoutError' ? 'timed out' : typeof code === 'string' ? code : message;
      throw new KubeError(`${method} ${path}: no answer from ${this.#access.server} (${detail})`, { status: 0, cause });
    }
  }
}

function inNamespaceOf(object: KubeObject): { namespace?: string } {
  return object.metadata.namespace === undefined ? {} : { namespace: object.metadata.namespace };
}

function failure(method: string, path: string, status: number, text: string, retryAfter: unknown): KubeError {
  let message = text.slice(0, 500);
  let reason: string | undefined;
  try {
    const body = JSON.parse(text) as { message?: string; reason?: string };
    message = body.message ?? message;
    reason = body.reason;
  } catch {
    // A proxy in between: its text is all there is.
  }
  const seconds = Number(retryAfter);
  return new KubeError(`${method} ${path}: ${status} ${message}`, {
    status,
    ...(reason === undefined ? {} : { reason }),
    ...(Number.isFinite(seconds) && seconds > 0 ? { retryAfter: seconds } : {}),
  });
}
