/** An inspector whose engine can be changed for another: the debug endpoint of a replay looks through it. */
import { Subject, type Subscription } from 'rxjs';
import type { Engine } from '../../reconcilers/engine.ts';
import type {
  EngineStats,
  Explanation,
  Inspector,
  MachineView,
  OpRecord,
  RowView,
  Transition,
} from '../../reconcilers/inspect.ts';
import type { TableName } from '../../state/tables.ts';

export class MovingInspector implements Inspector {
  readonly transitions$ = new Subject<Transition>();
  readonly ops$ = new Subject<OpRecord>();
  /** Another moment: what was heard so far is of no more use. */
  readonly moved$ = new Subject<void>();
  #engine: Engine;
  #subscriptions: Subscription[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** From now on it is this engine, which begins to play. */
  follow(engine: Engine): void {
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
    this.#subscriptions = [
      engine.transitions$.subscribe((transition) => this.transitions$.next(transition)),
      engine.ops$.subscribe((op) => this.ops$.next(op)),
    ];
  }

  /** It has arrived. */
  settle(engine: Engine): void {
    this.#engine = engine;
  }

  machines(): MachineView[] {
    return this.#engine.machines();
  }
  machine(key: string): (MachineView & { history: Transition[] }) | undefined {
    return this.#engine.machine(key);
  }
  contexts(kind: string): unknown[] {
    return this.#engine.contexts(kind);
  }
  kinds(): { name: string; logic: unknown }[] {
    return this.#engine.kinds();
  }
  rows(table: TableName): RowView[] {
    return this.#engine.rows(table);
  }
  explain(table: TableName, key: string): Explanation | undefined {
    return this.#engine.explain(table, key);
  }
  stats(): EngineStats {
    return this.#engine.stats();
  }
}
