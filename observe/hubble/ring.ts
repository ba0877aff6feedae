/**
 * The last flows, or other events, of a node.
 *
 * - Each has a number, counted from 0; the ring holds those from `oldest` up to `next`, without `next`.
 * - Readers go by number. One that was overtaken goes on at `oldest`, and knows by the difference how many it missed.
 */
import type { LostEvents, Timestamp } from './types.ts';

/** What readers need of a ring. */
export interface RingView<T> {
  readonly capacity: number;
  readonly next: number;
  readonly oldest: number;
  /** How many are held. */
  readonly size: number;
  /** Undefined outside of what is held. */
  get(number: number): T | undefined;
  /** Resolves when there is one with this number, or a loss with that, or `signal` ends the wait. */
  reached(number: number, signal: AbortSignal, loss?: number): Promise<void>;
  /** What never came into the ring, where it is missing; absent: nothing ever is. */
  readonly losses?: RingView<Loss>;
  /** A reader was too slow for that many. */
  missed?(count: number): void;
}

export interface Loss {
  /** Number of the first one after it. */
  at: number;
  time: Timestamp;
  events: LostEvents;
}

/** Readers that wait for more. */
export class Waiting {
  #wakers = new Set<() => void>();

  /** After the batch that something came in, not before each of it. */
  wake(): void {
    if (this.#wakers.size === 0) return;
    const wakers = this.#wakers;
    this.#wakers = new Set();
    setImmediate(() => {
      for (const wake of wakers) wake();
    });
  }

  next(signal: AbortSignal): Promise<void> {
    return new Promise<void>((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        this.#wakers.delete(wake);
        resolve();
      };
      this.#wakers.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}

export class Ring<T> implements RingView<T> {
  readonly capacity: number;
  readonly #items: (T | undefined)[];
  readonly #waiting = new Waiting();
  next = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#items = new Array<T | undefined>(capacity);
  }

  get oldest(): number {
    return Math.max(0, this.next - this.capacity);
  }

  get size(): number {
    return this.next - this.oldest;
  }

  push(item: T): void {
    this.#items[this.next % this.capacity] = item;
    this.next++;
    this.#waiting.wake();
  }

  get(number: number): T | undefined {
    return number >= this.oldest && number < this.next ? this.#items[number % this.capacity] : undefined;
  }

  async reached(number: number, signal: AbortSignal): Promise<void> {
    while (this.next <= number && !signal.aborted) await this.#waiting.next(signal);
  }
}
