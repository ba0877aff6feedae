/** One request to the agent over its unix socket, with the ways in which it can fail told apart. */
import { request } from 'node:http';
import type { CniReply } from '../../cluster/cni-types.ts';

/**
 * - `absent`: nobody listens, the request was not seen;
 * - `lost`: the agent went away in the middle, it may have seen it;
 * - `silent`: the agent holds the request and does not answer;
 * - `odd`: the answer is no answer.
 */
export type Failure = { kind: 'absent' | 'lost' | 'silent' | 'odd'; reason: string };
export type Outcome = { reply: CniReply } | { failure: Failure };

/** A little more than the agent allows its handlers. */
const ANSWER_TIMEOUT_MS = 58_000;
const ABSENT = new Set(['ENOENT', 'ECONNREFUSED', 'EACCES', 'ENOTSOCK', 'ENOTDIR', 'EPROTOTYPE']);

export function ask(socket: string, method: 'GET' | 'POST', path: string, body?: unknown): Promise<Outcome> {
  return new Promise((done) => {
    const failed = (kind: Failure['kind'], reason: string) =>
      done({ failure: { kind, reason: `${socket}: ${reason}` } });
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = text ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) } : {};
    const call = request({ socketPath: socket, method, path, headers, agent: false }, async (response) => {
      try {
        const chunks: Buffer[] = [];
        for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
        done(parse(Buffer.concat(chunks).toString('utf8'), failed));
      } catch (error) {
        failed('lost', error instanceof Error ? error.message : String(error));
      }
    });
    call.setTimeout(ANSWER_TIMEOUT_MS, () => {
      failed('silent', `no answer within ${ANSWER_TIMEOUT_MS} ms`);
      call.destroy();
    });
    call.on('error', (error: NodeJS.ErrnoException) => {
      failed(ABSENT.has(error.code ?? '') ? 'absent' : 'lost', error.message);
    });
    call.end(text);
  });
}

function parse(text: string, failed: (kind: 'odd', reason: string) => void): Outcome {
  try {
    const reply = JSON.parse(text) as CniReply | null;
    if (reply !== null && typeof reply === 'object' && !Array.isArray(reply)) return { reply };
  } catch {
    // What is not JSON is as odd as JSON that is no object.
  }
  const reason = `the answer is not a JSON object: ${text.slice(0, 80)}`;
  failed('odd', reason);
  return { failure: { kind: 'odd', reason } };
}

const RETRY_EVERY_MS = 100;

/** Asks again while nobody listens: the agent may just be restarting. */
export async function askPatiently(patienceMs: number, ...call: Parameters<typeof ask>): Promise<Outcome> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const outcome = await ask(...call);
    if (!('failure' in outcome) || outcome.failure.kind !== 'absent' || performance.now() > deadline) return outcome;
    await new Promise((done) => setTimeout(done, RETRY_EVERY_MS));
  }
}
