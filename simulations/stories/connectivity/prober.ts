/** The other end of prober.mjs: one connection per prober, one question at a time. */
import { existsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { until } from '../embedded.ts';

export type Probe = readonly [protocol: 'TCP' | 'UDP', address: string, port: number];

const START_TIMEOUT_MS = 30_000;

export class Prober {
  readonly #socket: Socket;
  #pending = '';
  #answer: ((line: string) => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text) => {
      const lines = (this.#pending + String(text)).split('\n');
      this.#pending = lines.pop() ?? '';
      for (const line of lines) this.#answer?.(line);
    });
  }

  static async open(path: string): Promise<Prober> {
    await until(`${path} is there`, START_TIMEOUT_MS, () => existsSync(path) || undefined);
    const socket = connect(path);
    await new Promise((done, fail) => socket.once('connect', done).once('error', fail));
    return new Prober(socket);
  }

  /** Whether each was answered. */
  async ask(probes: readonly Probe[], timeoutMs: number): Promise<boolean[]> {
    if (probes.length === 0) return [];
    const line = await new Promise<string>((resolve, reject) => {
      const guard = setTimeout(() => reject(new Error('the prober does not answer')), timeoutMs + 20_000);
      this.#answer = (text) => {
        clearTimeout(guard);
        resolve(text);
      };
      this.#socket.write(`${JSON.stringify({ probes, timeoutMs })}\n`);
    });
    return [...line].map((digit) => digit === '1');
  }

  close(): void {
    this.#socket.destroy();
  }
}
