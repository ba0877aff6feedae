/**
 * What the page asks the agent for.
 *
 * - Nothing is asked while nobody looks: polls rest and streams close when the page is hidden, and go on when it is seen again.
 */

export class ApiError extends Error {
  readonly status: number;
  readonly expected: string;

  constructor(status: number, message: string, expected = '') {
    super(message);
    this.status = status;
    this.expected = expected;
  }
}

const TIMEOUT_MS = 15_000;

export async function getJson<T>(path: string): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, { headers: { accept: 'application/json' }, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    throw new ApiError(0, 'the agent does not answer', 'it is asked again until it does');
  }
  const body = (await response.json().catch(() => ({ error: 'an answer that is no JSON' }))) as T & {
    error?: string;
    expected?: string;
  };
  // Health answers 503 with a body as good as any other.
  if (response.ok || (response.status === 503 && body.error === undefined)) return body;
  throw new ApiError(response.status, body.error ?? `status ${response.status}`, body.expected);
}

/** Path of one segment out of text that may hold slashes. */
export const segment = (text: string): string => encodeURIComponent(text);

export interface Asking {
  /** At once, instead of at the next turn. */
  now(): void;
  stop(): void;
}

/** Asks again and again; an answer to a path that is no longer meant is dropped. */
export function poll<T>(
  path: () => string | undefined,
  everyMs: number,
  heard: (answer: T | ApiError) => void,
): Asking {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isStopped = false;
  let turn = 0;
  const ask = async (): Promise<void> => {
    clearTimeout(timer);
    const own = ++turn;
    const wanted = path();
    if (wanted !== undefined && !document.hidden) {
      const answer = await getJson<T>(wanted).catch((error: unknown) => error as ApiError);
      if (isStopped || own !== turn) return;
      heard(answer);
    }
    timer = setTimeout(ask, everyMs);
  };
  const seen = (): void => void (document.hidden || ask());
  document.addEventListener('visibilitychange', seen);
  void ask();
  return {
    now: () => void ask(),
    stop() {
      isStopped = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', seen);
    },
  };
}

export type Connection = 'connecting' | 'live' | 'lost';

const HIDDEN_MS = 30_000;
const RETRY_MS = 2_000;

/** Server-sent events, one JSON object each. `refused` is called when the request itself is wrong. */
export function stream<T>(
  path: string,
  hear: { line(line: T): void; state(state: Connection): void; refused(error: ApiError): void },
): { close(): void } {
  let source: EventSource | undefined;
  let hiding: ReturnType<typeof setTimeout> | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  const open = (): void => {
    source?.close();
    hear.state('connecting');
    const opened = new EventSource(path);
    source = opened;
    opened.onopen = () => hear.state('live');
    opened.onmessage = ({ data }) => hear.line(JSON.parse(data as string) as T);
    opened.onerror = () => {
      hear.state('lost');
      if (opened.readyState !== EventSource.CLOSED) return;
      // The answer was no stream: its text says why, unless nobody is there.
      const plain = path.replace(/[?&]follow(=[^&]*)?/, (found) => (found.startsWith('?') ? '?' : ''));
      getJson(plain).then(
        () => {
          retry = setTimeout(open, RETRY_MS);
        },
        (error: ApiError) => {
          if (error.status >= 400 && error.status < 500) hear.refused(error);
          else retry = setTimeout(open, RETRY_MS);
        },
      );
    };
  };
  const seen = (): void => {
    clearTimeout(hiding);
    if (document.hidden) {
      hiding = setTimeout(() => {
        source?.close();
        source = undefined;
      }, HIDDEN_MS);
    } else if (!source) open();
  };
  document.addEventListener('visibilitychange', seen);
  open();
  return {
    close() {
      clearTimeout(hiding);
      clearTimeout(retry);
      document.removeEventListener('visibilitychange', seen);
      source?.close();
    },
  };
}
