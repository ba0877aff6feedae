/** The end of a watch: nothing is written to it afterwards, however long its client keeps it from closing. */
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { expect, test, vi } from 'vitest';
import { Storage } from './storage.ts';
import type { ApiObject, ResourceType } from './types.ts';
import { serveWatch, type WatchRequest } from './watches.ts';

const namespaces = { storageKey: 'namespaces', kind: 'Namespace', group: '', version: 'v1' } as ResourceType;
const namespace = (name: string) =>
  ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }) as unknown as ApiObject;

test('a watch that has ended hears of no change and sends no bookmark', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
  const storage = new Storage(':memory:', 10);
  try {
    // Without a connection it never closes, as with a client that does not read.
    const response = new ServerResponse(new IncomingMessage(new Socket()));
    const errors: unknown[] = [];
    response.on('error', (error) => errors.push(error));
    serveWatch(storage, response, {
      type: namespaces,
      namespace: '',
      filter: () => true,
      parameters: { resourceVersion: '0', allowWatchBookmarks: true, timeoutSeconds: 60 } as WatchRequest['parameters'],
      show: (object) => object,
      contentType: 'application/json',
    });
    storage.put('namespaces', namespace('before'));
    vi.advanceTimersByTime(60_000);
    expect(response.writableEnded).toBe(true);
    storage.put('namespaces', namespace('after'));
    vi.advanceTimersByTime(600_000);
    vi.useRealTimers();
    // Such an error comes in a turn of its own.
    await new Promise((resolve) => setImmediate(resolve));
    expect(errors).toEqual([]);
  } finally {
    vi.useRealTimers();
    storage.close();
  }
});
