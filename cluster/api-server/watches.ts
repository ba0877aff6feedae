/**
 * Watches: one response of JSON lines, from a revision on.
 *
 * - Replay of the history and subscription are one synchronous step: nothing is lost or doubled between them.
 * - An object that enters or leaves the selection is ADDED or DELETED to this watch, whatever happened to it.
 * - A client that does not read is cut off rather than buffered for without end.
 */
import type { ServerResponse } from 'node:http';
import { ApiError, expired, revisionTooLarge } from './errors.ts';
import type { Filter } from './filter.ts';
import { parseRevision } from './lists.ts';
import type { ListParameters } from './request-info.ts';
import type { Change, Storage } from './storage.ts';
import { type ApiObject, apiVersionOf, type ResourceType } from './types.ts';
import { inVersion } from './update.ts';

const bookmarkIntervalMs = 60_000;
const defaultTimeoutSeconds = 1800;
const unreadBytesMax = 64 * 1024 * 1024;

export type WatchType = 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';

export interface WatchRequest {
  type: ResourceType;
  namespace: string;
  filter: Filter;
  parameters: ListParameters;
  /** How an object is shown: as it is, or as a row of a table. */
  show: (object: ApiObject) => unknown;
  contentType: string;
}

export function serveWatch(storage: Storage, response: ServerResponse, request: WatchRequest): void {
  const { type, parameters, show } = request;
  const send = (kind: WatchType, object: unknown): void => {
    // A client that does not read keeps the answer from closing long after its end.
    if (response.writableEnded || response.destroyed) return;
    response.write(`${JSON.stringify({ type: kind, object })}\n`);
    if (response.writableLength > unreadBytesMax) response.destroy();
  };
  response.writeHead(200, { 'content-type': request.contentType, 'cache-control': 'no-cache, private' });
  response.flushHeaders();

  let start: number;
  try {
    start = firstEvents(storage, request, send);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    send('ERROR', error.status);
    response.end();
    return;
  }
  for (const change of storage.changesSince(type.storageKey, start) ?? []) sendChange(request, change, send);
  const unsubscribe = storage.subscribe(type.storageKey, (change) => sendChange(request, change, send));
  const bookmark = (): void => {
    if (parameters.allowWatchBookmarks) send('BOOKMARK', show(bookmarkObject(type, storage.revision)));
  };
  const bookmarks = setInterval(bookmark, bookmarkIntervalMs);
  const timeout = setTimeout(
    () => {
      bookmark();
      stop();
      response.end();
    },
    (parameters.timeoutSeconds ?? defaultTimeoutSeconds) * 1000,
  );
  const stop = (): void => {
    unsubscribe();
    clearInterval(bookmarks);
    clearTimeout(timeout);
  };
  response.on('close', stop);
}

/** Sends the state to begin with, if it is asked for; returns the revision after which changes follow. */
function firstEvents(
  storage: Storage,
  request: WatchRequest,
  send: (kind: WatchType, object: unknown) => void,
): number {
  const { type, namespace, filter, parameters, show } = request;
  const asked = parseRevision(parameters.resourceVersion);
  if (asked !== undefined && asked > storage.revision) throw revisionTooLarge(asked, storage.revision);
  if (asked !== undefined && asked > 0 && !parameters.sendInitialEvents) {
    if (asked < storage.compacted) throw expired(`too old resource version: ${asked} (${storage.compacted})`);
    return asked;
  }
  for (const object of storage.list(type.storageKey, namespace).filter(filter))
    send('ADDED', show(inVersion(type, object)));
  if (parameters.sendInitialEvents && parameters.allowWatchBookmarks) {
    const end = bookmarkObject(type, storage.revision);
    end.metadata.annotations = { 'k8s.io/initial-events-end': 'true' };
    send('BOOKMARK', show(end));
  }
  return storage.revision;
}

function sendChange(request: WatchRequest, change: Change, send: (kind: WatchType, object: unknown) => void): void {
  const { type, namespace, filter, show } = request;
  if (namespace !== '' && change.object.metadata.namespace !== namespace) return;
  const before = change.previous !== undefined && filter(change.previous);
  const after = change.type !== 'DELETED' && filter(change.object);
  if (!before && !after) return;
  const kind = before && after ? 'MODIFIED' : after ? 'ADDED' : 'DELETED';
  // What leaves the selection is shown as it was when it was inside, with the revision of its leaving.
  const left = kind === 'DELETED' && change.type !== 'DELETED' && change.previous;
  const object = left
    ? { ...left, metadata: { ...left.metadata, resourceVersion: String(change.revision) } }
    : change.object;
  send(kind, show(inVersion(type, object)));
}

function bookmarkObject(type: ResourceType, revision: number): ApiObject {
  return {
    kind: type.kind,
    apiVersion: apiVersionOf(type),
    metadata: { resourceVersion: String(revision), creationTimestamp: null } as unknown as ApiObject['metadata'],
  };
}
