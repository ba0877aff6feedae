/**
 * Streams of several nodes as one, in order of time.
 *
 * - The earliest head goes first, once every stream has one; a stream that is silent for DRAIN_MS is no longer waited for, so a node
 *   that is slower than that may come out of order.
 * - A stream that fails ends alone. Streams can join while the others run.
 */
import type { Timestamp } from '../hubble/types.ts';

const DRAIN_MS = 1000;
/** Of each stream, read ahead. */
const AHEAD = 128;

interface Source<T> {
  waiting: { item: T; at: number }[];
  isOver: boolean;
  /** Since when it has nothing. */
  silentSince: number;
  resume(): void;
}

export class Merge<T extends { time: Timestamp }> {
  readonly #sources = new Set<Source<T>>();
  readonly #now: () => number;
  #wake = (): void => {};

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  add(stream: AsyncIterable<T>, failed: (error: unknown) => void): void {
    const source: Source<T> = { waiting: [], isOver: false, silentSince: this.#now(), resume: () => {} };
    this.#sources.add(source);
    void this.#read(source, stream)
      .catch(failed)
      .finally(() => {
        source.isOver = true;
        this.#wake();
      });
  }

  async #read(source: Source<T>, stream: AsyncIterable<T>): Promise<void> {
    for await (const item of stream) {
      source.waiting.push({ item, at: this.#now() });
      this.#wake();
      if (source.waiting.length < AHEAD) continue;
      await new Promise<void>((resolve) => {
        source.resume = resolve;
      });
    }
  }

  /** Ends when all streams have, unless `stays`: then when the signal says so. */
  async *items(signal: AbortSignal, stays = false): AsyncGenerator<T> {
    const aborted = (): void => this.#wake();
    signal.addEventListener('abort', aborted);
    try {
      while (!signal.aborted) {
        const next = this.#next();
        if (next !== undefined) yield next;
        else if (this.#sources.size === 0 && !stays) return;
        else await this.#something();
      }
    } finally {
      signal.removeEventListener('abort', aborted);
      for (const source of this.#sources) source.resume();
    }
  }

  /** Undefined: nothing may go yet. */
  #next(): T | undefined {
    const now = this.#now();
    let earliest: Source<T> | undefined;
    let isWaiting = false;
    for (const source of this.#sources) {
      const [head] = source.waiting;
      if (!head) {
        if (source.isOver) this.#sources.delete(source);
        else isWaiting ||= now - source.silentSince < DRAIN_MS;
      } else if (!earliest || isBefore(head.item, earliest.waiting[0]?.item as T)) earliest = source;
    }
    if (!earliest || (isWaiting && now - (earliest.waiting[0]?.at ?? now) < DRAIN_MS)) return undefined;
    const taken = earliest.waiting.shift();
    if (earliest.waiting.length === 0) earliest.silentSince = now;
    earliest.resume();
    return taken?.item;
  }

  #something(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, DRAIN_MS / 4);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

const isBefore = (a: { time: Timestamp }, b: { time: Timestamp }): boolean =>
  a.time.seconds - b.time.seconds < 0 || (a.time.seconds === b.time.seconds && a.time.nanos < b.time.nanos);
