import koffi from 'koffi';
import { LowNumbers } from '../netns/files.ts';
import { KeptOpen } from '../netns/kept-open.ts';
import { inNetns } from '../netns/netns.ts';
import { NetlinkError } from '../netlink/error.ts';
import { AF_NETLINK, NETLINK_NETFILTER, NetlinkSocket } from '../netlink/socket.ts';
import { dumpCounters, dumpElements } from './dump.ts';
import { type ElementBatch, encodeChanges, sendElements } from './element-batch.ts';
import type { NftSet } from './elements.ts';
import { type NftChange, type NftObject, renderChanges, type TableName } from './program.ts';

/** nft refused a transaction: nothing of it was done. */
export class NftError extends Error {
  override readonly name = 'NftError';
  readonly code: 'ENOENT' | 'EEXIST' | 'EBUSY' | 'EINVAL';
  constructor(message: string, script: string, cause?: NetlinkError) {
    const lines = script.split('\n');
    super(`nft: ${message.trim()}${lines.length <= 20 ? `\n${script}` : ''}`, { cause });
    this.code = codeIn(cause?.code ?? message);
  }
}

/** Changes of elements, ready to be sent. */
export type Prepared = { readonly batch: ElementBatch; readonly changes: readonly NftChange[] };

/** Runs nft text in one network namespace. */
export type Nft = Disposable & {
  /** One atomic transaction. Throws {@link NftError}. */
  run(script: string): void;
  /**
   * What `renderChanges` says, by the shortest way. Elements are one atomic transaction; new chains that nothing leads to may come
   * before it, and chains that nothing leads to any more may go behind it. Throws {@link NftError}.
   *
   * @param setOf the set of a name, as it stands
   * @param prepared changes of elements that belong into the same transaction
   */
  change(
    table: TableName,
    changes: readonly NftChange[],
    setOf: (name: string) => NftSet | undefined,
    prepared?: readonly Prepared[],
  ): void;
  /**
   * Does for some changes of elements what can be done before they are sent. Thousands of them are prepared in portions, between which
   * others have their turn. Throws {@link NftError} for what is no element of these sets.
   */
  prepare(table: TableName, changes: readonly NftChange[], setOf: (name: string) => NftSet | undefined): Prepared;
  /** Elements that a set has in the kernel; see {@link dumpElements}. */
  elements(table: TableName, set: NftSet): Extract<NftObject, { kind: 'element' }>[];
  /** Named counters, with what they have counted. */
  counters(table: TableName): Extract<NftObject, { kind: 'counter' }>[];
  /** Runs a `list` command and gives its text; JSON with `json`. Throws {@link NftError}. */
  list(command: string, options?: { json?: boolean }): string;
};

/** libnftables in the namespace at `netns`, or in this process's own. Opened at first use. */
export function openNft(netns?: string): Nft {
  return new LibNft(netns);
}

/**
 * Contexts that are open. Few are kept: each has a file number below 1024, since libnftables waits with select(), which ends the
 * process when it is given another. An agent has an instance for each of hundreds of networks.
 */
const MOST_CONTEXTS = 32;
const contexts = new KeptOpen<LibNft, Context>(MOST_CONTEXTS);
let numbers: LowNumbers | undefined;

/** The library's own, and a socket for what needs no parser. */
type Context = Disposable & { readonly handle: unknown; readonly socket: NetlinkSocket };

/** Up to so many, one transaction by the parser is as fast. */
const FEW_CHANGES = 200;

class LibNft implements Nft {
  readonly #netns: string | undefined;
  constructor(netns: string | undefined) {
    this.#netns = netns;
  }

  run(script: string): void {
    if (script === '') return;
    const { runCommand, errorBuffer } = load();
    const { handle } = this.#context();
    if (this.#inside<number>(() => runCommand(handle, script)) !== 0) throw new NftError(errorBuffer(handle), script);
  }

  change(
    table: TableName,
    changes: readonly NftChange[],
    setOf: (name: string) => NftSet | undefined,
    prepared: readonly Prepared[] = [],
  ): void {
    const ready = prepared.map((p) => p.batch);
    try {
      const batch = encodeChanges(table, changes, setOf);
      if (batch) {
        sendElements(this.#context().socket, [...ready, batch]);
        return;
      }
      if ((changes.length > FEW_CHANGES || ready.length > 0) && this.#inSteps(table, changes, setOf, ready)) return;
      this.run(renderChanges(table, changes));
      sendElements(this.#context().socket, ready);
    } catch (error) {
      if (error instanceof NetlinkError) throw new NftError(error.message, renderChanges(table, changes), error);
      throw error;
    }
  }

  prepare(table: TableName, changes: readonly NftChange[], setOf: (name: string) => NftSet | undefined): Prepared {
    const batch = encodeChanges(table, changes, setOf);
    if (!batch) throw new NftError('Error: these are no plain elements', renderChanges(table, changes));
    return { batch, changes: [] };
  }

  /**
   * No packet meets a new chain until an element leads to it, so it may stand before that, and one that goes may stand until none does; and
   * thousands of elements take the short way, where the parser would hold up everything else: to take intervals away it needs the square
   * of their number. Not when anything but elements is replaced: that is one moment.
   */
  #inSteps(
    table: TableName,
    changes: readonly NftChange[],
    setOf: (name: string) => NftSet | undefined,
    ready: readonly ElementBatch[],
  ): boolean {
    const isPlain = ({ object: o }: NftChange): boolean => o.kind === 'counter' || (o.kind === 'chain' && !o.hook);
    const made = changes.filter((c) => isPlain(c) && c.verb === 'set' && !c.before);
    const gone = changes.filter((c) => isPlain(c) && c.verb === 'delete');
    const [first, last] = [new Set(made), new Set(gone)];
    const batch = encodeChanges(
      table,
      changes.filter((c) => !first.has(c) && !last.has(c)),
      setOf,
    );
    if (!batch) return false;
    this.run(renderChanges(table, made));
    sendElements(this.#context().socket, [...ready, batch]);
    this.run(renderChanges(table, gone));
    return true;
  }

  elements(table: TableName, set: NftSet): Extract<NftObject, { kind: 'element' }>[] {
    return dumpElements(this.#context().socket, table, set);
  }

  counters(table: TableName): Extract<NftObject, { kind: 'counter' }>[] {
    return dumpCounters(this.#context().socket, table);
  }

  list(command: string, { json = false }: { json?: boolean } = {}): string {
    const { runCommand, errorBuffer, outputBuffer, setOutput } = load();
    const { handle } = this.#context();
    setOutput(handle, json ? NFT_CTX_OUTPUT_JSON : 0);
    try {
      if (this.#inside<number>(() => runCommand(handle, command)) !== 0)
        throw new NftError(errorBuffer(handle), command);
      return outputBuffer(handle);
    } finally {
      setOutput(handle, 0);
    }
  }

  [Symbol.dispose](): void {
    contexts.close(this);
  }

  #context(): Context {
    return contexts.get(this, () => openContext(this.#netns));
  }

  /** The library may open its socket again while it works, and must find the same namespace then. */
  #inside<T>(work: () => T extends PromiseLike<unknown> ? never : T): T {
    return this.#netns === undefined ? work() : inNetns<T>(this.#netns, work);
  }
}

function openContext(netns: string | undefined): Context {
  const { ctxNew, ctxFree, bufferOutput, bufferError } = load();
  numbers ??= new LowNumbers(MOST_CONTEXTS + 4);
  const low = numbers;
  const free = (handle: unknown): void => {
    ctxFree(handle);
    low.fill();
  };
  // First, so that the context gets no number that this one holds for a moment.
  const socket = NetlinkSocket.open(netns, NETLINK_NETFILTER);
  try {
    // The context opens its netlink socket here, so it belongs to the namespace of this moment.
    const open = (): unknown =>
      low.open<unknown>({ domain: AF_NETLINK, protocol: NETLINK_NETFILTER }, () => ctxNew(0), ctxFree);
    const handle = netns === undefined ? open() : inNetns<unknown>(netns, open);
    bufferOutput(handle);
    bufferError(handle);
    return {
      handle,
      socket,
      [Symbol.dispose]() {
        free(handle);
        socket[Symbol.dispose]();
      },
    };
  } catch (error) {
    socket[Symbol.dispose]();
    throw error;
  }
}

const NFT_CTX_OUTPUT_JSON = 1 << 4;

type Library = {
  ctxNew: (flags: number) => unknown;
  ctxFree: (ctx: unknown) => void;
  bufferOutput: (ctx: unknown) => number;
  bufferError: (ctx: unknown) => number;
  outputBuffer: (ctx: unknown) => string;
  errorBuffer: (ctx: unknown) => string;
  setOutput: (ctx: unknown, flags: number) => void;
  runCommand: (ctx: unknown, script: string) => number;
};
let library: Library | undefined;

/** Loaded at first use, so that programs that never touch nft start without it. */
function load(): Library {
  if (library) return library;
  const lib = koffi.load('libnftables.so.1');
  library = {
    ctxNew: lib.func('void* nft_ctx_new(uint32_t flags)'),
    ctxFree: lib.func('void nft_ctx_free(void*)'),
    bufferOutput: lib.func('int nft_ctx_buffer_output(void*)'),
    bufferError: lib.func('int nft_ctx_buffer_error(void*)'),
    outputBuffer: lib.func('const char* nft_ctx_get_output_buffer(void*)'),
    errorBuffer: lib.func('const char* nft_ctx_get_error_buffer(void*)'),
    setOutput: lib.func('void nft_ctx_output_set_flags(void*, unsigned int)'),
    runCommand: lib.func('int nft_run_cmd_from_buffer(void* ctx, const char* buf)'),
  };
  return library;
}

function codeIn(message: string): NftError['code'] {
  if (/No such file or directory|^ENOENT$/.test(message)) return 'ENOENT';
  if (/File exists|^EEXIST$/.test(message)) return 'EEXIST';
  if (/Device or resource busy|^EBUSY$/.test(message)) return 'EBUSY';
  return 'EINVAL';
}
