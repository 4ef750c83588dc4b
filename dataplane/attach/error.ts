import type { CniErrorCode } from '../../api/cni.ts';

/** A CNI verb was refused. `code` is the number that the runtime sees. */
export class AttachError extends Error {
  override readonly name = 'AttachError';
  readonly code: CniErrorCode;
  readonly details: string | undefined;
  constructor(code: CniErrorCode, message: string, { details, cause }: { details?: string; cause?: unknown } = {}) {
    super(message, { cause });
    this.code = code;
    this.details = details;
  }
}
