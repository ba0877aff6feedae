/** Stops a replay at the first event after which an expression is true that was false before it. */
import type { Engine } from '../../reconcilers/engine.ts';
import { type TableName, tableNames } from '../../state/tables.ts';
import { type Account, accountOf, subjectOf, type TransitionLog } from './account.ts';
import { type Condition, type Facts, matcher, parseExpression } from './expression.ts';
import { changedRows, type Moment, type Watcher } from './moment.ts';

export class BreakOn implements Watcher {
  readonly #condition: Condition;
  readonly #transitions: TransitionLog;
  #view: EngineView | undefined;
  #was = false;
  found: Account | undefined;

  constructor(expression: string, transitions: TransitionLog) {
    this.#condition = parseExpression(expression, tableNames);
    this.#transitions = transitions;
  }

  onRun(_run: number, _header: unknown, engine: Engine): void {
    this.#view = new EngineView(engine);
    this.#was = this.#condition(this.#view);
  }

  onMoment(moment: Moment): 'stop' | undefined {
    const view = this.#view as EngineView;
    view.hear(moment);
    const was = this.#was;
    this.#was = this.#condition(view);
    if (was || !this.#was) return undefined;
    this.found = accountOf(moment, this.#transitions.of(moment));
    return 'stop';
  }
}

/** The engine as an expression asks for it; what is asked for again and again is kept. */
class EngineView implements Facts {
  readonly #engine: Engine;
  readonly #states = new Map<string, string>();
  readonly #patterns = new Map<string, (text: string) => boolean>();
  /** Rows by table and pattern, until the table changes. */
  readonly #found = new Map<TableName, Map<string, unknown[]>>();
  #moment: Moment | undefined;

  constructor(engine: Engine) {
    this.#engine = engine;
    for (const { key, state } of engine.machines()) this.#states.set(key, state);
    engine.transitions$.subscribe(({ machine, to }) => {
      if (to === '') this.#states.delete(machine);
      else this.#states.set(machine, to);
    });
  }

  hear(moment: Moment): void {
    this.#moment = moment;
    if (this.#found.size > 0) for (const { table } of changedRows(moment)) this.#found.delete(table);
  }

  *machines(key: string): Generator<{ state: string; context: () => unknown }> {
    const context = (one: string) => () => this.#engine.machine(one)?.context;
    if (!key.includes('*')) {
      const state = this.#states.get(key);
      if (state !== undefined) yield { state, context: context(key) };
      return;
    }
    const matches = this.#matches(key);
    for (const [one, state] of this.#states) if (matches(one)) yield { state, context: context(one) };
  }

  rows(table: string, key: string): unknown[] {
    if (!key.includes('*')) {
      const value = this.#engine.explain(table as TableName, key)?.row.actual;
      return value === undefined ? [] : [value];
    }
    return this.#cached(table as TableName, key, () => {
      const matches = this.#matches(key);
      return [...this.#engine.actual(table as TableName)].filter(([one]) => matches(one)).map(([, value]) => value);
    });
  }

  count(table: string): number {
    return this.#cached(table as TableName, '', () => [this.#engine.actual(table as TableName).size])[0] as number;
  }

  event(): unknown {
    if (!this.#moment) return undefined;
    const { entry } = this.#moment;
    return { ...entry.event, seq: entry.seq, at: entry.at, source: entry.source, subject: subjectOf(entry.event) };
  }

  #matches(pattern: string): (text: string) => boolean {
    const known = this.#patterns.get(pattern) ?? matcher(pattern);
    this.#patterns.set(pattern, known);
    return known;
  }

  #cached(table: TableName, what: string, find: () => unknown[]): unknown[] {
    const ofTable = this.#found.get(table) ?? new Map<string, unknown[]>();
    this.#found.set(table, ofTable);
    const found = ofTable.get(what) ?? find();
    ofTable.set(what, found);
    return found;
  }
}
