/**
 * The loop around the engine: the one queue of events in, plans out to the drivers, results back into the queue.
 *
 * - Events are numbered and recorded in the order in which the engine takes them; nothing reaches it by another way.
 * - The kernel lane applies plans one after the other; a step's failure cancels what its owners have left in that plan, and deletes of
 *   what nobody owns.
 * - The kube and edge lanes run beside it: no kernel op waits for the API server.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Observable, Subscription } from 'rxjs';
import type { ClusterEvent, LogEntry, OpDone, OpError } from '../cluster/events.ts';
import type { Driver, Op, OpResult } from '../datapath/driver.ts';
import type { StoredRow } from '../state/store.ts';
import { canonical, type TableName, tableNames, tables } from '../state/tables.ts';
import type { Engine } from './engine.ts';
import type { Step } from './plan.ts';

export interface LoopOptions {
  engine: Engine;
  drivers: readonly Driver[];
  /** Wall-clock milliseconds since the epoch. */
  now: () => number;
  /** Called with each entry before the engine takes it. */
  record?: (entry: LogEntry) => void;
  /** A defect surfaced in the engine or a driver; the loop goes on with the next event. */
  onDefect: (error: unknown, entry: LogEntry | undefined) => void;
}

export class Loop {
  readonly #options: LoopOptions;
  readonly #drivers = new Map<TableName, Driver>();
  readonly #queue: Omit<LogEntry, 'seq'>[] = [];
  #seq = 0;
  #draining = false;
  #kernelLane: Promise<void> = Promise.resolve();
  #underWay = 0;
  #stopped = false;
  /** At the last look at everything. */
  #untold: ReadonlySet<string> = new Set();
  readonly #subscriptions: Subscription[] = [];

  constructor(options: LoopOptions) {
    this.#options = options;
    for (const driver of options.drivers) for (const table of driver.tables) this.#drivers.set(table, driver);
  }

  get queueLength(): number {
    return this.#queue.length;
  }

  push(source: string, event: ClusterEvent): void {
    if (this.#stopped) return;
    this.#queue.push({ at: this.#options.now(), source, event });
    this.#drain();
  }

  feed(source: string, events: Observable<ClusterEvent>): void {
    this.#subscriptions.push(events.subscribe((event) => this.push(source, event)));
  }

  #drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    for (let head = this.#queue.shift(); head; head = this.#queue.shift()) {
      const entry = { seq: ++this.#seq, ...head };
      try {
        this.#options.record?.(entry);
        this.#dispatch(this.#options.engine.step(entry));
      } catch (error) {
        this.#options.onDefect(error, entry);
      }
    }
    this.#draining = false;
  }

  #dispatch(steps: readonly Step[]): void {
    const kernel: Step[] = [];
    for (const step of steps) {
      if (tables[step.table].lane === 'kernel') kernel.push(step);
      else void this.#apply(step, step.ops);
    }
    if (kernel.length > 0) this.#inKernelLane(() => this.#applyInOrder(kernel));
  }

  #inKernelLane(work: () => Promise<void>): Promise<void> {
    this.#underWay++;
    const run = this.#kernelLane
      .then(work)
      .catch((error: unknown) => this.#options.onDefect(error, undefined))
      .finally(() => this.#underWay--);
    this.#kernelLane = run;
    return run;
  }

  async #applyInOrder(steps: readonly Step[]): Promise<void> {
    const unlucky = new Set<string>();
    let hasFailed = false;
    for (const step of steps) {
      if (this.#stopped) return;
      // What nobody owns may be what anything that failed still refers to.
      const isReady = ({ owners }: Op): boolean =>
        owners.length > 0 ? !owners.some((owner) => unlucky.has(owner)) : !hasFailed;
      const ready = step.ops.filter(isReady);
      if (ready.length < step.ops.length)
        this.#report(step.ops.filter((op) => !isReady(op)).map((op) => [op, cancelled]));
      for (const op of await this.#apply(step, ready)) {
        hasFailed = true;
        for (const owner of op.owners) unlucky.add(owner);
      }
    }
  }

  /** Applies and reports; returns the ops that failed. */
  async #apply(step: Step, ops: readonly Op[]): Promise<readonly Op[]> {
    if (ops.length === 0) return [];
    const driver = this.#drivers.get(step.table);
    let results: OpResult[];
    this.#underWay++;
    try {
      const applied = driver ? driver.apply(ops) : ops.map(() => undriven(step.table));
      results = applied instanceof Promise ? await applied : applied;
    } catch (error) {
      this.#options.onDefect(error, undefined);
      const message = `${step.action} ${step.table}: ${error instanceof Error ? error.message : String(error)}`;
      results = ops.map(() => ({ kind: 'invalid', errno: 'EDEFECT', message, retryable: true }));
    } finally {
      this.#underWay--;
    }
    this.#report(ops.map((op, i) => [op, results[i]]));
    return ops.filter((_, i) => results[i] !== undefined);
  }

  #report(outcomes: readonly (readonly [Op, OpResult])[]): void {
    const [first] = outcomes;
    if (!first) return;
    const results = outcomes.map(
      ([{ table, key, action, revision }, error]): OpDone => ({
        table,
        key,
        action,
        revision,
        ...(error && { error }),
      }),
    );
    this.push(`driver/${first[0].table}`, { type: 'ops.done', results });
  }

  /**
   * Tells the engine what is there at the start: what drivers dump, and for tables without a dump what was stored.
   * Rows that were stored and are no longer there are forgotten.
   */
  async takeStock(stored: readonly StoredRow[]): Promise<void> {
    for (const table of tableNames) {
      const known = new Map(stored.filter((row) => row.table === table).map(({ key, value }) => [key, value]));
      const driver = this.#drivers.get(table);
      if (!tables[table].durable) continue;
      const there = driver?.dump ? await driver.dump(table, known) : known;
      const changes = [
        ...differences(new Map(), there),
        ...differences(known, there).filter(({ value }) => value === null),
      ];
      if (changes.length > 0) this.push(`dump/${table}`, { type: 'observed', table, changes });
    }
    this.push('dump', { type: 'source.synced', source: 'kernel' });
  }

  /** Compares what is really there with what is believed to be; differences enter the log as `observed`. */
  async resync(): Promise<void> {
    for (const table of tableNames) {
      const driver = this.#drivers.get(table);
      if (!driver?.dump) {
        if (this.#options.engine.hasFailed(table)) this.push(`dump/${table}`, { type: 'observed', table, changes: [] });
        continue;
      }
      await this.#inKernelLane(async () => {
        const known = this.#options.engine.actual(table);
        const dumped = driver.dump?.(table, known);
        const there = dumped instanceof Promise ? await dumped : dumped;
        if (!there || this.#stopped) return;
        const changes = differences(known, there);
        if (changes.length > 0 || this.#options.engine.hasFailed(table)) {
          this.push(`dump/${table}`, { type: 'observed', table, changes });
        }
      });
    }
    this.#resyncObjects();
  }

  /** What is deleted between two lists of a watch is never told of: an object of ours that is untold twice in a row is gone. */
  #resyncObjects(): void {
    const { engine } = this.#options;
    const untold = engine.untold();
    const changes = untold.filter((key) => this.#untold.has(key)).map((key) => ({ key, value: null }));
    this.#untold = new Set(untold);
    if (changes.length > 0) this.push('dump/kube.objects', { type: 'observed', table: 'kube.objects', changes });
  }

  /** Resolves when no event is queued and no op is under way. */
  async idle(): Promise<void> {
    while (this.#underWay > 0 || this.#queue.length > 0) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Takes no more events; ops under way end, and nothing in the world is undone. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
    await this.#kernelLane;
  }
}

/** This agent was started without the feature that the table belongs to. */
const undriven = (table: TableName): OpError => ({
  kind: 'invalid',
  errno: 'ENODRIVER',
  message: `table ${table} has no driver in this agent`,
  retryable: false,
});

const cancelled = {
  kind: 'cancelled' as const,
  errno: 'ECANCELED',
  message: 'an earlier op of the same plan failed',
  retryable: true,
};

function differences(
  known: ReadonlyMap<string, unknown>,
  there: ReadonlyMap<string, unknown>,
): { key: string; value: unknown }[] {
  const changes: { key: string; value: unknown }[] = [];
  for (const [key, value] of there) {
    if (!known.has(key) || !isSame(known.get(key), value)) changes.push({ key, value });
  }
  for (const key of known.keys()) if (!there.has(key)) changes.push({ key, value: null });
  return changes.sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** Mostly they are equal, which is sooner seen than said. */
const isSame = (a: unknown, b: unknown): boolean => isDeepStrictEqual(a, b) || canonical(a) === canonical(b);
