/** Table `timers`: a row is a pending `setTimeout`; firing is an event. */
import type { Driver, Op, OpResult } from '../../datapath/driver.ts';
import type { TimerRow } from '../../state/tables.ts';

const DELAY_MAX_MS = 2 ** 31 - 1;

export class TimersDriver implements Driver {
  readonly tables = ['timers'] as const;
  readonly lane = 'edge';
  readonly #pending = new Map<string, NodeJS.Timeout>();
  readonly #now: () => number;
  readonly #fire: (key: string) => void;

  constructor(now: () => number, fire: (key: string) => void) {
    this.#now = now;
    this.#fire = fire;
  }

  apply(ops: readonly Op[]): OpResult[] {
    for (const { key, action, value } of ops) {
      clearTimeout(this.#pending.get(key));
      this.#pending.delete(key);
      if (action === 'delete') continue;
      const delay = Math.min(Math.max((value as TimerRow).dueMs - this.#now(), 0), DELAY_MAX_MS);
      const timer = setTimeout(() => {
        this.#pending.delete(key);
        this.#fire(key);
      }, delay);
      this.#pending.set(key, timer);
    }
    return ops.map(() => undefined);
  }

  close(): void {
    for (const timer of this.#pending.values()) clearTimeout(timer);
    this.#pending.clear();
  }
}
