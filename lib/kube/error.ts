/** The API server, or the way to it, said no. */
export class KubeError extends Error {
  override readonly name = 'KubeError';
  /** `Unavailable`: no answer at all. Else the reason of the Status object. */
  readonly code:
    | 'NotFound'
    | 'Conflict'
    | 'AlreadyExists'
    | 'Gone'
    | 'Invalid'
    | 'Forbidden'
    | 'Unauthorized'
    | 'TooManyRequests'
    | 'Unavailable'
    | 'Failed';
  /** HTTP status, 0 without an answer. */
  readonly status: number;
  /** Seconds after which the server wants to be asked again. */
  readonly retryAfter: number | undefined;
  constructor(
    message: string,
    { status, reason, cause, retryAfter }: { status: number; reason?: string; cause?: unknown; retryAfter?: number },
  ) {
    super(message, { cause });
    this.status = status;
    this.code = codeOf(status, reason);
    this.retryAfter = retryAfter;
  }
}

export const isKube = (error: unknown, code: KubeError['code']): boolean =>
  error instanceof KubeError && error.code === code;

function codeOf(status: number, reason: string | undefined): KubeError['code'] {
  if (reason === 'AlreadyExists') return 'AlreadyExists';
  switch (status) {
    case 0:
      return 'Unavailable';
    case 401:
      return 'Unauthorized';
    case 403:
      return 'Forbidden';
    case 404:
      return 'NotFound';
    case 409:
      return 'Conflict';
    case 410:
      return 'Gone';
    case 422:
      return 'Invalid';
    case 429:
      return 'TooManyRequests';
    default:
      return 'Failed';
  }
}
