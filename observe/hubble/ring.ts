/**
 * The last flows, or other events, of a node.
 *
 * - Each has a number, counted from 0; the ring holds those from `oldest` up to `next`, without `next`.
 * - Readers go by number. One that was overtaken goes on at `oldest`, and knows by the difference how many it missed.
 */

export class Ring<T> {
  readonly capacity: number;
  readonly #items: (T | undefined)[];
  readonly #waiting = new Set<() => void>();
  next = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#items = new Array<T | undefined>(capacity);
  }

  get oldest(): number {
    return Math.max(0, this.next - this.capacity);
  }

  /** How many are held. */
  get size(): number {
    return this.next - this.oldest;
  }

  push(item: T): void {
    this.#items[this.next % this.capacity] = item;
    this.next++;
    if (this.#waiting.size === 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    // After the batch that this one came in, not before each of it.
    setImmediate(() => {
      for (const wake of waiting) wake();
    });
  }

  /** Undefined outside of what is held. */
  get(number: number): T | undefined {
    return number >= this.oldest && number < this.next ? this.#items[number % this.capacity] : undefined;
  }

  /** Resolves when there is one with this number, or `signal` ends the wait. */
  async reached(number: number, signal: AbortSignal): Promise<void> {
    while (this.next <= number && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          signal.removeEventListener('abort', wake);
          this.#waiting.delete(wake);
          resolve();
        };
        this.#waiting.add(wake);
        signal.addEventListener('abort', wake, { once: true });
      });
    }
  }
}
