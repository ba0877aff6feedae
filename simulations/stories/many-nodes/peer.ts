/** The other end of peer.mjs: questions to one process in a pod or on a node. */
import { existsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { until } from '../embedded.ts';

export interface Probe {
  protocol: 'TCP' | 'UDP' | 'ICMP';
  address: string;
  /** 0 for ICMP. */
  port: number;
  bytes: number;
}
/** Who answered (`ping` for ICMP), or why nobody did. */
export type Answer = { by: string; error?: undefined } | { by?: undefined; error: string };

/** A connection that is held open, with something echoed over it all the time. */
export interface Held {
  address: string;
  beats: number;
  /** Longest time without an echo. */
  longestMs: number;
  /** '': it lives. */
  error: string;
}

/** Datagrams that go to somebody who echoes each. */
export interface Flow {
  address: string;
  sent: number;
  answered: number;
}

const START_TIMEOUT_MS = 120_000;
const ANSWER_TIMEOUT_MS = 120_000;

export class Peer {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, (answer: Record<string, unknown>) => void>();
  #pending = '';
  #last = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text) => {
      const lines = (this.#pending + String(text)).split('\n');
      this.#pending = lines.pop() ?? '';
      for (const line of lines) {
        const answer = JSON.parse(line) as { id: number };
        this.#waiting.get(answer.id)?.(answer);
        this.#waiting.delete(answer.id);
      }
    });
  }

  static async open(path: string): Promise<Peer> {
    const socket = await until(`${path} answers`, START_TIMEOUT_MS, async () => {
      if (!existsSync(path)) return undefined;
      const one = connect(path);
      return new Promise<Socket | undefined>((done) =>
        one.once('connect', () => done(one)).once('error', () => done(undefined)),
      );
    });
    return new Peer(socket);
  }

  #call(action: string, fields: object): Promise<Record<string, unknown>> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      const guard = setTimeout(() => reject(new Error(`the peer does not answer to ${action}`)), ANSWER_TIMEOUT_MS);
      this.#waiting.set(id, (answer) => {
        clearTimeout(guard);
        resolve(answer);
      });
      this.#socket.write(`${JSON.stringify({ id, action, ...fields })}\n`);
    });
  }

  async ask(probes: readonly Probe[], timeoutMs: number): Promise<Answer[]> {
    if (probes.length === 0) return [];
    return (await this.#call('ask', { probes, timeoutMs }))['answers'] as Answer[];
  }

  /** Over TCP, until `release`. */
  async hold(probes: readonly Pick<Probe, 'address' | 'port'>[]): Promise<void> {
    await this.#call('hold', { probes });
  }

  /** Numbered datagrams to each, until `flowed`. */
  async flow(probes: readonly Pick<Probe, 'address' | 'port'>[], everyMs: number): Promise<void> {
    await this.#call('flow', { probes, everyMs });
  }

  async flowing(): Promise<Flow[]> {
    return (await this.#call('flowing', {}))['flows'] as Flow[];
  }

  /** The last ones have some time to come back. */
  async flowed(timeoutMs: number): Promise<Flow[]> {
    return (await this.#call('flowed', { timeoutMs }))['flows'] as Flow[];
  }

  async held(): Promise<Held[]> {
    return (await this.#call('held', {}))['held'] as Held[];
  }

  async release(): Promise<Held[]> {
    return (await this.#call('release', {}))['held'] as Held[];
  }

  close(): void {
    this.#socket.destroy();
  }
}
