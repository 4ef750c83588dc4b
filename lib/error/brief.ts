/** What went wrong, as one text for a log. */
export const brief = (error: unknown): string => (error instanceof Error ? error.message : String(error));
