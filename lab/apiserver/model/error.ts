type Cause = { readonly field: string; readonly message: string };
/** The object that an error is about, as clients show it. */
type About = { readonly name: string; readonly kind: string; readonly group?: string };

/** A request is refused. Becomes a Status object, as a Kubernetes API server writes it. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly code: string;
  readonly causes: readonly Cause[];
  readonly about: About | undefined;
  constructor(status: number, code: string, message: string, causes: readonly Cause[] = [], about?: About) {
    super(message);
    this.status = status;
    this.code = code;
    this.causes = causes;
    this.about = about;
  }
}

/** The body of an error answer. */
export function statusOf(error: ApiError): object {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: error.message,
    reason: error.code,
    code: error.status,
    ...(error.causes.length > 0 || error.about
      ? { details: { ...error.about, causes: error.causes.map((c) => ({ reason: 'FieldValueInvalid', ...c })) } }
      : {}),
  };
}

export const notFound = (what: string, name: string): ApiError =>
  new ApiError(404, 'NotFound', `${what} "${name}" not found`);
/** The object has changed since it was read: what was worked out from it may be worked out again. */
export class ChangedError extends ApiError {}
export const conflict = (what: string, name: string): ApiError =>
  new ChangedError(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${what} "${name}": the object has been modified; please apply your changes to the latest version and try again`,
  );
export const invalid = (kind: string, name: string, causes: readonly { field: string; message: string }[]): ApiError =>
  new ApiError(
    422,
    'Invalid',
    `${kind} "${name}" is invalid: ${causes.map((c) => `${c.field}: ${c.message}`).join(', ')}`,
    causes,
    about(kind, name),
  );
export const badRequest = (message: string): ApiError => new ApiError(400, 'BadRequest', message);
export const notServed = (message: string): ApiError =>
  new ApiError(501, 'NotImplemented', `the lab's API server does not do this: ${message}`);

/** "VirtualNetwork.bulkhead.dev" and a name. */
function about(kind: string, name: string): About {
  const dot = kind.indexOf('.');
  return dot < 0 ? { name, kind } : { name, kind: kind.slice(0, dot), group: kind.slice(dot + 1) };
}
