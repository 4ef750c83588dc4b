import type { ServerResponse } from 'node:http';
import { ApiError, badRequest, statusOf } from './model/error.ts';
import { JsonLines } from './json-lines.ts';
import type { Operations } from './operations.ts';
import type { Target } from './request.ts';
import { fieldSelector, labelSelector } from './objects/select.ts';
import { apiVersion, type StoredObject, type StoreEvent } from './objects/store.ts';
import { table } from './objects/table.ts';

type Query = Readonly<Record<string, string | undefined>>;

const BOOKMARK_EVERY_MS = 15_000;
const DEFAULT_SECONDS = 1_800;
/** Beyond this a timer fires at once. */
const MAX_SECONDS = 2_000_000;

/** Reads what a watch asks for. Throws 400. The result streams changes until the client goes or the watch's time is over. */
export function watch(
  ops: Operations,
  { type, namespace }: Target,
  query: Query,
  asTable: boolean,
): (raw: ServerResponse) => void {
  const labels = labelSelector(query['labelSelector']);
  const fields = fieldSelector(query['fieldSelector']);
  const selected = (o: StoredObject): boolean =>
    (namespace === undefined || o.metadata.namespace === namespace) && labels(o.metadata.labels ?? {}) && fields(o);
  const { since, initial } = startOf(query);
  const seconds = secondsOf(query['timeoutSeconds']);
  const withBookmarks = query['allowWatchBookmarks'] === 'true';

  return (raw) => {
    const lines = new JsonLines(raw);
    let columnsSent = false;
    const send = (kind: string, object: StoredObject): void => {
      if (!asTable) return lines.write({ type: kind, object });
      lines.write({ type: kind, object: table(type, [object], object.metadata.resourceVersion, {}, columnsSent) });
      columnsSent = true;
    };
    const bookmark = (annotations?: object): void =>
      lines.write({
        type: 'BOOKMARK',
        object: {
          kind: type.kind,
          apiVersion: apiVersion(type),
          metadata: {
            resourceVersion: String(ops.store.version),
            creationTimestamp: null,
            ...(annotations ? { annotations } : {}),
          },
        },
      });
    // An object that stops matching the selector is told as deleted, one that begins to match as added.
    const shown = new Set<string>();
    const onEvent = ({ type: kind, object }: StoreEvent): void => {
      const { uid } = object.metadata;
      if (kind !== 'DELETED' && selected(object)) {
        send(shown.has(uid) ? 'MODIFIED' : 'ADDED', object);
        shown.add(uid);
      } else if (shown.delete(uid) || (kind === 'DELETED' && selected(object))) send('DELETED', object);
    };
    if (since === undefined || initial) {
      for (const o of ops.list(type, namespace, query)) {
        send('ADDED', o);
        shown.add(o.metadata.uid);
      }
      if (initial && withBookmarks) bookmark({ 'k8s.io/initial-events-end': 'true' });
    }
    // A watch from a version follows a list by the same client: what was there then is known to it.
    else
      for (const o of ops.store.all(type))
        if (Number(o.metadata.resourceVersion) <= since && selected(o)) shown.add(o.metadata.uid);
    try {
      lines.onOver(ops.store.watch(type, since === undefined || initial ? ops.store.version : since, onEvent));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      lines.write({ type: 'ERROR', object: statusOf(error) });
      lines.end();
      return;
    }
    const bookmarks = withBookmarks ? setInterval(bookmark, BOOKMARK_EVERY_MS) : undefined;
    const end = setTimeout(() => lines.end(), seconds * 1000);
    lines.onOver(() => {
      clearInterval(bookmarks);
      clearTimeout(end);
    });
  };
}

/** From which version, and whether what is there comes first. Without a version: what is there, and then what comes. */
function startOf(query: Query): { readonly since?: number; readonly initial: boolean } {
  const version = query['resourceVersion'] ?? '';
  const initial = query['sendInitialEvents'] === 'true';
  if (!/^\d*$/.test(version)) throw badRequest(`resourceVersion: invalid value "${version}"`);
  if (query['sendInitialEvents'] !== undefined && query['resourceVersionMatch'] !== 'NotOlderThan')
    throw badRequest('sendInitialEvents requires resourceVersionMatch=NotOlderThan');
  return version === '' || version === '0' ? { initial } : { initial, since: Number(version) };
}

function secondsOf(text: string | undefined): number {
  if (text === undefined || text === '') return DEFAULT_SECONDS;
  if (!/^-?\d+$/.test(text)) throw badRequest(`timeoutSeconds: "${text}" is no whole number`);
  const seconds = Number(text);
  return seconds <= 0 ? DEFAULT_SECONDS : Math.min(seconds, MAX_SECONDS);
}
