/** The latest transitions and ops, kept so that whoever asks sees how things came to be. */
import { NEVER, type Observable, type Subscription } from 'rxjs';
import type { Inspector, OpRecord, Transition } from '../../reconcilers/inspect.ts';

const KEPT = 512;

export class History {
  readonly #transitions: Transition[] = [];
  readonly #ops: OpRecord[] = [];
  readonly #subscriptions: Subscription[];

  /** `moved$`: the inspector looks at another moment, and what was kept is of no more use. */
  constructor({ transitions$, ops$, moved$ = NEVER }: Inspector & { moved$?: Observable<void> }) {
    this.#subscriptions = [
      moved$.subscribe(() => {
        this.#transitions.length = 0;
        this.#ops.length = 0;
      }),
      transitions$.subscribe((transition) => keep(this.#transitions, transition)),
      ops$.subscribe((op) => keep(this.#ops, op)),
    ];
  }

  get transitions(): readonly Transition[] {
    return this.#transitions;
  }

  get ops(): readonly OpRecord[] {
    return this.#ops;
  }

  close(): void {
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
  }
}

/** Trimmed by halves, so that keeping one is cheap. */
function keep<T>(list: T[], item: T): void {
  list.push(item);
  if (list.length >= 2 * KEPT) list.splice(0, KEPT);
}
