/** Runs `connections.c` in pods and namespaces: thousands of real connections, held and used until they are told to stop. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { EmbeddedCluster } from './embedded.ts';

export interface Held {
  connections: number;
  rounds: number;
  asked: number;
  /** Without an answer in time, or reset. */
  broken: number;
  retransmits: number;
  slowestMs: number;
}
export type Served = Pick<Held, 'connections' | 'retransmits'>;

const axoneme = join(import.meta.dirname, '../../cli/axoneme');
const source = join(import.meta.dirname, 'connections.c');
const cache = join(import.meta.dirname, '../../node_modules/.cache/connections');

function program(): string {
  const path = join(cache, createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 16));
  if (existsSync(path)) return path;
  mkdirSync(cache, { recursive: true });
  const fresh = `${path}.${process.pid}`;
  execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', fresh, source], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  renameSync(fresh, path);
  return path;
}

/** What a command runs after. */
export type Within = readonly [string, ...string[]];
export const inPod = ({ name }: EmbeddedCluster, pod: string): Within => [axoneme, 'exec', '--name', name, pod, '--'];
/** Path of a network namespace. */
export const inNetns = (netns: string): Within => ['nsenter', `--net=${netns}`];

/** Of a worker; the next one has the next port. */
export const CONNECTIONS_OF_PORT = 12_500;

/** A program in a pod; each of its workers says that it is ready, and at last what became of it. */
export class Connections<T extends Held | Served> {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #workers: number;

  private constructor([command = '', ...before]: Within, workers: number, args: readonly string[]) {
    this.#child = spawn(command, [...before, program(), String(workers), ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    if (!this.#child.stdout) throw new Error('no output');
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    this.#workers = workers;
  }

  /** At the ports that so many connections need. */
  static async serve(within: Within, port: number, count: number): Promise<Connections<Served>> {
    const workers = Math.ceil(count / CONNECTIONS_OF_PORT);
    const server = new Connections<Served>(within, workers, ['serve', String(port)]);
    await server.#all('listening');
    return server;
  }

  /** Resolves when all are established; `count` is less than what a worker may have, or a multiple of it. */
  static async hold(
    within: Within,
    to: { address: string; port: number; count: number; pauseMs?: number },
  ): Promise<Connections<Held>> {
    const { address, port, count, pauseMs = 0 } = to;
    const each = Math.min(count, CONNECTIONS_OF_PORT);
    const args = ['hold', address, String(port), String(each), String(pauseMs)];
    const client = new Connections<Held>(within, count / each, args);
    await client.#all('connected');
    return client;
  }

  async #all(wanted?: string): Promise<string[]> {
    const lines: string[] = [];
    while (lines.length < this.#workers) {
      const { value, done } = await this.#lines.next();
      if (done || (wanted && value !== wanted))
        throw new Error(`connections: ${done ? 'ended' : value}, expected ${wanted ?? 'a result'}`);
      lines.push(value);
    }
    return lines;
  }

  /** What became of each worker. */
  async stop(): Promise<T[]> {
    this.#child.stdin?.end();
    return (await this.#all()).map((line) => JSON.parse(line) as T);
  }
}
