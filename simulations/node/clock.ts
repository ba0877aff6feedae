/** Time that passes when it is told to: timers fire in order of their due time, and nothing waits for the wall. */

interface Timer {
  dueMs: number;
  order: number;
  /** Undefined: called off. */
  fire: (() => void) | undefined;
}

const isBefore = (a: Timer, b: Timer): boolean => a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);

export class VirtualClock {
  #nowMs: number;
  #order = 0;
  /** A binary heap, the first one due on top; called-off ones are thrown away when they get there. */
  readonly #timers: Timer[] = [];

  constructor(startMs = 1_700_000_000_000) {
    this.#nowMs = startMs;
  }

  get now(): number {
    return this.#nowMs;
  }

  /** Returns how to call it off. */
  at(dueMs: number, fire: () => void): () => void {
    const timer: Timer = { dueMs, order: ++this.#order, fire };
    this.#push(timer);
    return () => {
      timer.fire = undefined;
    };
  }

  advance(ms: number): void {
    const end = this.#nowMs + ms;
    while (this.step(end)) {
      // One after the other.
    }
  }

  /** To the next timer that is due until then, which fires; false: there is none, and it is then. */
  step(endMs: number): boolean {
    for (;;) {
      const [first] = this.#timers;
      if (!first || first.dueMs > endMs) {
        this.#nowMs = endMs;
        return false;
      }
      this.#pop();
      if (!first.fire) continue;
      this.#nowMs = Math.max(this.#nowMs, first.dueMs);
      first.fire();
      return true;
    }
  }

  #push(timer: Timer): void {
    const heap = this.#timers;
    let at = heap.length;
    for (; at > 0; ) {
      const up = (at - 1) >> 1;
      const above = heap[up] as Timer;
      if (!isBefore(timer, above)) break;
      heap[at] = above;
      at = up;
    }
    heap[at] = timer;
  }

  #pop(): void {
    const heap = this.#timers;
    const last = heap.pop() as Timer;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= heap.length) break;
      if (down + 1 < heap.length && isBefore(heap[down + 1] as Timer, heap[down] as Timer)) down++;
      const below = heap[down] as Timer;
      if (!isBefore(below, last)) break;
      heap[at] = below;
      at = down;
    }
    heap[at] = last;
  }
}

/** Random numbers in [0, 1) that a seed decides (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
