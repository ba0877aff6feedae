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

/** Keeps idle connections from being taken for dead ones. */
const HEARTBEAT_MS = 15_000;

export function streamLines(response: ServerResponse, past: readonly unknown[], lines: Observable<unknown>): void {
  let dropped = 0;
  const write = (line: unknown): void => {
    if (response.writableLength > PENDING_BYTES_MAX) {
      dropped++;
      return;
    }
    if (dropped > 0) {
      response.write(`${JSON.stringify({ dropped })}\n`);
      dropped = 0;
    }
    response.write(`${toJson(line)}\n`);
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
    response.write(`${JSON.stringify({ dropped })}\n`);
    dropped = 0;
  });
  response.on('close', () => {
    clearInterval(heartbeat);
    subscription.unsubscribe();
  });
}
