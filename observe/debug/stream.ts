/**
 * Lines of JSON to one reader, who may be slow.
 *
 * - A reader never holds more than PENDING_BYTES_MAX of ours: lines beyond that are dropped, and a line
 *   `{"dropped": n}` says how many as soon as there is room again.
 */
import type { ServerResponse } from 'node:http';
import type { Observable } from 'rxjs';
import { toJson } from './http.ts';

export const PENDING_BYTES_MAX = 1 << 20;

export const EVENTS = 'text/event-stream';
const TYPES = { lines: 'application/x-ndjson', events: `${EVENTS}; charset=utf-8` } as const;

/** Keeps idle connections from being taken for dead ones. */
const HEARTBEAT_MS = 15_000;

export function streamLines(
  response: ServerResponse,
  past: readonly unknown[],
  lines: Observable<unknown>,
  form: 'lines' | 'events' = 'lines',
): void {
  response.writeHead(200, { 'content-type': TYPES[form] });
  const put = (text: string): boolean => response.write(form === 'events' ? `data: ${text}\n\n` : `${text}\n`);
  let dropped = 0;
  const write = (line: unknown): void => {
    if (response.writableLength > PENDING_BYTES_MAX) {
      dropped++;
      return;
    }
    if (dropped > 0) {
      put(JSON.stringify({ dropped }));
      dropped = 0;
    }
    put(toJson(line));
  };
  response.flushHeaders();
  for (const line of past) write(line);
  const subscription = lines.subscribe({
    next: write,
    complete: () => response.end(),
    error: () => response.destroy(),
  });
  const heartbeat = setInterval(() => response.writableLength === 0 && response.write('\n'), HEARTBEAT_MS);
  response.on('drain', () => {
    if (dropped === 0) return;
    put(JSON.stringify({ dropped }));
    dropped = 0;
  });
  response.on('close', () => {
    clearInterval(heartbeat);
    subscription.unsubscribe();
  });
}
