import koffi from 'koffi';
import { inNetns } from '../netns/netns.ts';

/** nft refused a transaction: nothing of it was done. */
export class NftError extends Error {
  override readonly name = 'NftError';
  readonly code: 'ENOENT' | 'EEXIST' | 'EBUSY' | 'EINVAL';
  constructor(message: string, script: string) {
    const lines = script.split('\n');
    super(`nft: ${message.trim()}${lines.length <= 20 ? `\n${script}` : ''}`);
    this.code = codeIn(message);
  }
}

/** Runs nft text in one network namespace. */
export type Nft = Disposable & {
  /** One atomic transaction. Throws {@link NftError}. */
  run(script: string): void;
  /** Runs a `list` command and gives its text; JSON with `json`. Throws {@link NftError}. */
  list(command: string, options?: { json?: boolean }): string;
};

/** libnftables in the namespace at `netns`, or in this process's own. Opened at first use. */
export function openNft(netns?: string): Nft {
  return new LibNft(netns);
}

/**
 * Contexts that are open, the least recently used first. Only few are kept: libnftables waits with select(), which ends
 * the process when a file number reaches 1024, and an agent has an instance for each of hundreds of networks.
 */
const contexts = new Map<LibNft, unknown>();
const MOST_CONTEXTS = 32;

class LibNft implements Nft {
  readonly #netns: string | undefined;
  constructor(netns: string | undefined) {
    this.#netns = netns;
  }

  run(script: string): void {
    if (script === '') return;
    const { runCommand, errorBuffer } = load();
    const context = this.#context();
    if (runCommand(context, script) !== 0) throw new NftError(errorBuffer(context), script);
  }

  list(command: string, { json = false }: { json?: boolean } = {}): string {
    const { runCommand, errorBuffer, outputBuffer, setOutput } = load();
    const context = this.#context();
    setOutput(context, json ? NFT_CTX_OUTPUT_JSON : 0);
    try {
      if (runCommand(context, command) !== 0) throw new NftError(errorBuffer(context), command);
      return outputBuffer(context);
    } finally {
      setOutput(context, 0);
    }
  }

  [Symbol.dispose](): void {
    const context = contexts.get(this);
    if (contexts.delete(this)) load().ctxFree(context);
  }

  #context(): unknown {
    const known = contexts.get(this);
    contexts.delete(this);
    const context = known ?? this.#open();
    contexts.set(this, context);
    for (const [oldest] of contexts) {
      if (contexts.size <= MOST_CONTEXTS) break;
      oldest[Symbol.dispose]();
    }
    return context;
  }

  #open(): unknown {
    const { ctxNew, bufferOutput, bufferError } = load();
    // The context opens its netlink socket here, so it belongs to the namespace of this moment.
    const open = (): unknown => ctxNew(0);
    const context = this.#netns === undefined ? open() : inNetns<unknown>(this.#netns, open);
    if (!context) throw new NftError('libnftables gave no context', '');
    bufferOutput(context);
    bufferError(context);
    return context;
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
  if (/No such file or directory/.test(message)) return 'ENOENT';
  if (/File exists/.test(message)) return 'EEXIST';
  if (/Device or resource busy/.test(message)) return 'EBUSY';
  return 'EINVAL';
}
