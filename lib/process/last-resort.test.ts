import { expect, test } from 'vitest';
import { isConnectionOver } from './last-resort.ts';

test('only what says that a connection is over leaves the state known', () => {
  for (const code of ['ECONNRESET', 'EPIPE', 'ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_STREAM_WRITE_AFTER_END'])
    expect(isConnectionOver(Object.assign(new Error('x'), { code }))).toBe(true);
  for (const error of [
    new TypeError('x'),
    undefined,
    null,
    'x',
    Object.assign(new Error('x'), { code: 'ENOSPC' }),
    { code: 7 },
  ])
    expect(isConnectionOver(error)).toBe(false);
});
