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

/** Opens libnftables in the namespace at `netns`, or in this process's own. */
export function openNft(netns?: string): Nft {
  const { ctxNew, bufferOutput, bufferError } = load();
  // The context opens its netlink socket here, so it belongs to the namespace of this moment.
  const open = (): unknown => ctxNew(0);
  const context = netns === undefined ? open() : inNetns<unknown>(netns, open);
  if (!context) throw new NftError('libnftables gave no context', '');
  bufferOutput(context);
  bufferError(context);
  return new LibNft(context);
}

class LibNft implements Nft {
  readonly #context: unknown;
  constructor(context: unknown) {
    this.#context = context;
  }

  run(script: string): void {
    if (script === '') return;
    const { runCommand, errorBuffer } = load();
    if (runCommand(this.#context, script) !== 0) throw new NftError(errorBuffer(this.#context), script);
  }

  list(command: string, { json = false }: { json?: boolean } = {}): string {
    const { runCommand, errorBuffer, outputBuffer, setOutput } = load();
    setOutput(this.#context, json ? NFT_CTX_OUTPUT_JSON : 0);
    try {
      if (runCommand(this.#context, command) !== 0) throw new NftError(errorBuffer(this.#context), command);
      return outputBuffer(this.#context);
    } finally {
      setOutput(this.#context, 0);
    }
  }

  [Symbol.dispose](): void {
    load().ctxFree(this.#context);
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
