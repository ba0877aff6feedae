/**
 * The last flows of a node.
 *
 * - A flow has a number, counted from 0; the ring holds those from `oldest` up to `next`, without `next`.
 * - Readers go by number. One that was overtaken goes on at `oldest`, and knows by the difference how many it missed.
 */
import type { Flow } from './types.ts';

export class FlowRing {
  readonly capacity: number;
  readonly #flows: (Flow | undefined)[];
  readonly #waiting = new Set<() => void>();
  next = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#flows = new Array<Flow | undefined>(capacity);
  }

  get oldest(): number {
    return Math.max(0, this.next - this.capacity);
  }

  /** Flows that are held. */
  get size(): number {
    return this.next - this.oldest;
  }

  push(flow: Flow): void {
    this.#flows[this.next % this.capacity] = flow;
    this.next++;
    if (this.#waiting.size === 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    // After the batch that this flow came in, not before each of its flows.
    setImmediate(() => {
      for (const wake of waiting) wake();
    });
  }

  /** Undefined outside of what is held. */
  get(number: number): Flow | undefined {
    return number >= this.oldest && number < this.next ? this.#flows[number % this.capacity] : undefined;
  }

  /** Resolves when there is a flow with this number, or `signal` ends the wait. */
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
