/**
 * The small HTTP of the debug endpoint: GET, and POST where a route says so; JSON answers, JSON errors that say what was expected, line streams.
 *
 * - Whatever goes out passes through redaction: nothing secret is shown.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Observable } from 'rxjs';
import { redact } from '../../cluster/recording-redact.ts';
import { EVENTS, streamLines } from './stream.ts';

export type Answer =
  | { kind: 'json'; body: unknown; status?: number }
  | { kind: 'text'; body: string }
  /** `past` goes first; the stream ends with the source or the client. */
  | { kind: 'stream'; past?: readonly unknown[]; lines: Observable<unknown> };

export interface Query {
  /** What `*` in the route's pattern stands for; '' without one. */
  rest: string;
  params: URLSearchParams;
}

export interface Route {
  /** `*` at the end: the rest of the path, at least one character. */
  pattern: string;
  /** POST changes something; only on the unix socket. Default: GET. */
  method?: 'POST';
  doc: string;
  answer(query: Query): Answer | Promise<Answer>;
}

/** A request that cannot be answered, in words for whoever asked. */
export class Refusal extends Error {
  readonly status: number;
  readonly expected: string;
  readonly nearest: readonly string[];

  constructor(status: number, message: string, expected: string, nearest: readonly string[] = []) {
    super(message);
    this.status = status;
    this.expected = expected;
    this.nearest = nearest;
  }
}

export const json = (body: unknown, status = 200): Answer => ({ kind: 'json', body, status });

/** Numbers beyond 2^53 become text, bytes hexadecimal. */
export function toJson(value: unknown): string {
  return JSON.stringify(redact(value), (_, inner: unknown) => {
    if (typeof inner === 'bigint') return inner <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(inner) : String(inner);
    if (inner instanceof Uint8Array) return Buffer.from(inner).toString('hex');
    return inner;
  });
}

export function match(routes: readonly Route[], path: string): { route: Route; rest: string } | undefined {
  for (const route of routes) {
    if (!route.pattern.endsWith('*')) {
      if (path === route.pattern) return { route, rest: '' };
      continue;
    }
    const prefix = route.pattern.slice(0, -1);
    if (path.startsWith(prefix) && path.length > prefix.length) return { route, rest: path.slice(prefix.length) };
  }
  return undefined;
}

export async function serve(
  routes: readonly Route[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    send(await answer(routes, request), response, request.headers.accept);
  } catch (error) {
    const refusal =
      error instanceof Refusal
        ? error
        : new Refusal(500, error instanceof Error ? error.message : String(error), 'no failure');
    const { status, message, expected, nearest } = refusal;
    const body = { error: message, expected, ...(nearest.length > 0 && { nearest }) };
    if (response.headersSent) response.destroy();
    else send(json(body, status), response);
  }
}

function answer(routes: readonly Route[], request: IncomingMessage): Answer | Promise<Answer> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://debug');
  const known = routes.map((route) => route.pattern);
  const found = match(routes, pathname);
  const method = found?.route.method ?? 'GET';
  if (request.method !== method) throw new Refusal(405, `method ${request.method} on ${pathname}`, method);
  if (pathname === '/' || pathname === '/v1') return json(routes.map(({ pattern, doc }) => ({ path: pattern, doc })));
  if (!found) throw new Refusal(404, `no such path: ${pathname}`, `one of ${known.join(', ')}`);
  return found.route.answer({ rest: decoded(found.rest), params: searchParams });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Refusal(400, `path has a broken escape: ${text}`, 'percent-encoded UTF-8');
  }
}

/** A browser asks for a stream as server-sent events. */
function send(given: Answer, response: ServerResponse, accept = ''): void {
  switch (given.kind) {
    case 'json':
      response.writeHead(given.status ?? 200, { 'content-type': 'application/json' });
      response.end(`${toJson(given.body)}\n`);
      break;
    case 'text':
      response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
      response.end(given.body);
      break;
    case 'stream':
      streamLines(response, given.past ?? [], given.lines, accept.includes(EVENTS) ? 'events' : 'lines');
      break;
  }
}

/** `?follow`, `?follow=true`, `?follow=1`. */
export function isFollow(params: URLSearchParams): boolean {
  const value = params.get('follow');
  if (value === null || value === 'false' || value === '0') return false;
  if (value === '' || value === 'true' || value === '1') return true;
  throw new Refusal(400, `parameter follow is ${JSON.stringify(value)}`, 'true or false');
}

export function choiceOf<const C extends string>(
  params: URLSearchParams,
  name: string,
  choices: readonly C[],
  usual: C,
): C {
  const value = params.get(name);
  if (value === null) return usual;
  const found = choices.find((choice) => choice === value);
  if (found === undefined)
    throw new Refusal(400, `parameter ${name} is ${JSON.stringify(value)}`, `one of ${choices.join(', ')}`);
  return found;
}
