/**
 * Flows into one sink, at the sink's pace.
 *
 * - The queue is bounded: what has no room in it is counted and gone. Neither the datapath nor the ring ever waits for a sink.
 * - A batch that the sink refuses is tried again, later and later, until it is taken; meanwhile the queue fills.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Observable, Subscription } from 'rxjs';
import type { Predicate } from '../hubble/filter.ts';
import type { Flow } from '../hubble/types.ts';
import type { Sink } from './sink.ts';

export interface ExporterStats {
  name: string;
  sent: number;
  /** For want of room in the queue. */
  dropped: number;
  queued: number;
  /** Why the last batch was refused; empty: it was taken. */
  error: string;
}

const BATCH = 512;
const BATCH_WAIT_MS = 200;
const RETRY_FIRST_MS = 250;
const RETRY_MAX_MS = 30_000;
/** At the end, for what waits. */
const FLUSH_MS = 2_000;

export class Exporter {
  readonly #name: string;
  readonly #sink: Sink;
  readonly #capacity: number;
  readonly #log: (line: string) => void;
  readonly #subscription: Subscription;
  readonly #ending = new AbortController();
  readonly #running: Promise<void>;
  #queue: Flow[] = [];
  #sent = 0;
  #dropped = 0;
  #error = '';
  #wake = (): void => {};
  #isOver = false;

  constructor(
    options: { name: string; sink: Sink; capacity: number; wanted: Predicate; log: (line: string) => void },
    flows$: Observable<Flow>,
  ) {
    this.#name = options.name;
    this.#sink = options.sink;
    this.#capacity = options.capacity;
    this.#log = options.log;
    this.#subscription = flows$.subscribe((flow) => {
      if (!options.wanted(flow)) return;
      if (this.#queue.length >= this.#capacity) this.#dropped++;
      else if (this.#queue.push(flow) >= BATCH) this.#wake();
    });
    this.#running = this.#run();
  }

  stats(): ExporterStats {
    return {
      name: this.#name,
      sent: this.#sent,
      dropped: this.#dropped,
      queued: this.#queue.length,
      error: this.#error,
    };
  }

  /** Tries for a moment to get rid of what waits. */
  async close(): Promise<void> {
    this.#subscription.unsubscribe();
    this.#isOver = true;
    this.#wake();
    const timer = setTimeout(() => this.#ending.abort(), FLUSH_MS);
    await this.#running;
    clearTimeout(timer);
    this.#dropped += this.#queue.length;
    await this.#sink.close().catch(() => {});
  }

  async #run(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      if (this.#queue.length < BATCH && !this.#isOver) await this.#pause();
      if (this.#queue.length > 0) await this.#send();
      else if (this.#isOver) return;
    }
  }

  /** The batch stays at the head of the queue until it is taken. */
  async #send(): Promise<void> {
    const batch = this.#queue.slice(0, BATCH);
    for (let delay = RETRY_FIRST_MS; !this.#ending.signal.aborted; delay = Math.min(2 * delay, RETRY_MAX_MS)) {
      try {
        await this.#sink.send(batch);
        if (this.#error) this.#log(`export ${this.#name}: goes on, ${this.#dropped} flows were dropped so far`);
        this.#error = '';
        this.#sent += batch.length;
        this.#queue = this.#queue.slice(batch.length);
        return;
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        if (!this.#error) this.#log(`export ${this.#name}: ${message}; tried again`);
        this.#error = message;
        await sleep(delay, undefined, { signal: this.#ending.signal }).catch(() => {});
      }
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, BATCH_WAIT_MS);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
