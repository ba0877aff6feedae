/** POST to somebody's server, with its token from a file that is read each time: tokens change. */
import { readFile } from 'node:fs/promises';

export interface HttpOptions {
  url: string;
  /** File with a bearer token; empty: none. */
  tokenFile: string;
  /** Other headers, such as `X-Scope-OrgID`. */
  headers: Readonly<Record<string, string>>;
}

const TIMEOUT_MS = 10_000;
const ANSWER_SHOWN = 200;

export async function headersOf({ tokenFile, headers }: HttpOptions): Promise<Record<string, string>> {
  const token = tokenFile && (await readFile(tokenFile, 'utf8')).trim();
  return { ...headers, ...(token && { authorization: `Bearer ${token}` }) };
}

export async function post(options: HttpOptions, body: string, type: string): Promise<void> {
  const response = await fetch(options.url, {
    method: 'POST',
    headers: { ...(await headersOf(options)), 'content-type': type },
    body,
    signal: AbortSignal.timeout(TIMEOUT_MS),
  }).catch((error: unknown) => {
    const cause = error instanceof Error ? (error.cause as Error | undefined) : undefined;
    throw new Error(`${options.url}: ${cause?.message ?? (error instanceof Error ? error.message : error)}`);
  });
  const answer = await response.text();
  if (!response.ok) throw new Error(`${options.url}: ${response.status} ${answer.slice(0, ANSWER_SHOWN)}`);
}
