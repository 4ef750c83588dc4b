/** Stamped by the build; "dev" when sources run as they are. */
declare const BULKHEAD_VERSION: string | undefined;

/** Version of these programs, for example "0.1.0+f4fc283". */
export const PROGRAM_VERSION: string = typeof BULKHEAD_VERSION === 'undefined' ? 'dev' : BULKHEAD_VERSION;
