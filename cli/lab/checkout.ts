import { join } from 'node:path';

/** The root of the checkout: built programs are in its dist/. */
export const checkout: string = join(import.meta.dirname, '..');
