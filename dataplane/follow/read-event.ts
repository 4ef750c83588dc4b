import type { StreamEvent } from '../../api/nodeconfig.ts';
import { isItemKind, isNeeded, itemProblem } from './items.ts';

/** A line of the stream that is none, or of which too much would be lost. The stream is ended, and what was known goes on. */
export class StreamError extends Error {
  override readonly name = 'StreamError';
  readonly code = 'UnreadableStream';
}

/** What a line says. `problem`: its item cannot be read, and the event takes it away. */
export type ReadEvent = { readonly event: StreamEvent | undefined; readonly problem?: string };

/**
 * Reads one line of the controller's stream. An item that cannot be read is left out, as if it were deleted: what it would open
 * stays closed. Where that would open something, and where the line is no event at all, it throws a {@link StreamError}.
 */
export function readEvent(line: string): ReadEvent {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new StreamError('a line of the stream is not JSON', { cause });
  }
  if (typeof value !== 'object' || value === null) throw new StreamError('a line of the stream is no object');
  const { type, kind, key, epoch, node, revision, value: item } = value as Readonly<Record<string, unknown>>;
  switch (type) {
    case 'hello':
      if (!isCount(epoch) || typeof node !== 'string') throw new StreamError('hello without an epoch and a node');
      return { event: { type, epoch, node } };
    case 'sync':
      if (!isCount(revision)) throw new StreamError('sync without a revision');
      return { event: { type, revision } };
    case 'delete':
      if (!isItemKind(kind)) return { event: undefined };
      if (typeof key !== 'string') throw new StreamError('delete without a key');
      return { event: { type, kind, key } };
    case 'upsert': {
      // During an upgrade the controller may be the newer one, and tell of kinds that this version does not know.
      if (!isItemKind(kind)) return { event: undefined };
      const problem = itemProblem(kind, key, item);
      if (problem === undefined) return { event: value as StreamEvent };
      if (isNeeded(kind) || typeof key !== 'string') throw new StreamError(`an item cannot be read: ${problem}`);
      return { event: { type: 'delete', kind, key }, problem };
    }
    case undefined:
      throw new StreamError('a line of the stream has no type');
    default:
      return { event: undefined }; // `ping`, and what newer controllers may say
  }
}

const isCount = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value >= 0;
