/** The kernel refused a netlink request. `code` is the errno's name: "EEXIST", "ENOENT", "ESRCH" … */
export class NetlinkError extends Error {
  override readonly name = 'NetlinkError';
  readonly code: string;
  constructor(code: string, what: string, detail?: string) {
    super(`${what}: ${code}${detail ? ` (${detail})` : ''}`);
    this.code = code;
  }
}

/** The thing is there already. */
export const isExists = (e: unknown): boolean => e instanceof NetlinkError && e.code === 'EEXIST';

/** The thing, or its device, is not there (any more). */
export const isGone = (e: unknown): boolean =>
  e instanceof NetlinkError && ['ENOENT', 'ESRCH', 'ENODEV', 'EADDRNOTAVAIL', 'ENXIO'].includes(e.code);
