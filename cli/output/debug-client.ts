/** Asks an agent's debug endpoint; what it refuses becomes an error in its words. */
import { type IncomingMessage, request } from 'node:http';

const TIMEOUT_MS = 30_000;

export class DebugError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export class DebugClient {
  readonly socketPath: string;
  readonly #timeoutMs: number;

  constructor(socketPath: string, timeoutMs = TIMEOUT_MS) {
    this.socketPath = socketPath;
    this.#timeoutMs = timeoutMs;
  }

  async get<T>(path: string): Promise<T> {
    return JSON.parse(await this.text(path)) as T;
  }

  /** For what changes something. */
  async post<T>(path: string): Promise<T> {
    return JSON.parse(await answered(await this.#ask(path, this.#timeoutMs, 'POST'))) as T;
  }

  /** Also where the answer is a 503 with a body, as of `health`. */
  async text(path: string): Promise<string> {
    return answered(await this.#ask(path, this.#timeoutMs));
  }

  /** Lines of JSON, until the agent ends; those that the agent had to drop come as `{dropped}`. */
  async *follow<T>(path: string): AsyncGenerator<T | { dropped: number }> {
    const response = await this.#ask(path, 0);
    if (response.statusCode !== 200) throw new DebugError(response.statusCode ?? 0, refusal(await bodyOf(response)));
    let rest = '';
    response.setEncoding('utf8');
    for await (const chunk of response) {
      const lines = (rest + (chunk as string)).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line !== '') yield JSON.parse(line) as T | { dropped: number };
    }
  }

  #ask(path: string, timeout: number, method = 'GET'): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const call = request({ socketPath: this.socketPath, path, method, timeout }, resolve);
      call.on('timeout', () => call.destroy(new Error(`no answer within ${timeout} ms`)));
      call.on('error', (error) => reject(new Error(`debug socket ${this.socketPath}: ${error.message}`)));
      call.end();
    });
  }
}

async function answered(response: IncomingMessage): Promise<string> {
  const text = await bodyOf(response);
  if (response.statusCode === 200) return text;
  throw new DebugError(response.statusCode ?? 0, refusal(text));
}

async function bodyOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

function refusal(text: string): string {
  try {
    const { error, expected, nearest } = JSON.parse(text) as { error: string; expected: string; nearest?: string[] };
    return `${error}, expected ${expected}${nearest ? `; did you mean ${nearest.join(', ')}?` : ''}`;
  } catch {
    return text.slice(0, 200);
  }
}
