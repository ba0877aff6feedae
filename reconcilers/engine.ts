/**
 * The engine: one event in, a plan out.
 *
 *   event → machines (population) → wanted rows (rows) → difference from actual → plan
 *
 * The engine starts with nothing actual; what is there at the start is told to it by `observed`, as later drift is.
 *
 * Laws:
 * - `step` is a function of the events so far, and of nothing else: same log, same plans.
 * - The work of a step is in proportion to what the event changes.
 * - A row with an op under way gets no other op until the result is in. While one of the kernel lane is under way, no row of that
 *   lane gets one: the order of a plan would be lost between it and the next.
 * - An op that failed is repeated when its row changes, its machine has another op for the kernel or says `retry`, or a dump looked at
 *   its table again.
 * - An orphan is deleted only after all sources of its table have synced.
 */
import { Subject } from 'rxjs';
import { type ClusterEvent, type LogEntry, type OpDone, type OpError, objectKey } from '../cluster/events.ts';
import type { Op } from '../datapath/driver.ts';
import type { Kind, RowName } from '../machines/machine.ts';
import type { RowChange } from '../state/store.ts';
import { isTableName, type Row, type TableName, tables } from '../state/tables.ts';
import { type ActualStore, asks, type Cold } from './actual-store.ts';
import { ColdRows, isWhole } from './cold-rows.ts';
import type {
  Cause,
  EngineStats,
  Explanation,
  Inspector,
  MachineView,
  OpRecord,
  RowView,
  Transition,
} from './inspect.ts';
import { joinFailed } from './join-failed.ts';
import { begun, finished, readOp, subjectOf, writtenOp } from './op-records.ts';
import { plan, type Step } from './plan.ts';
import { type Machine, Population, type RowKeeper, releaseStuck } from './population.ts';
import { decided, isOf, type RowEntry, RowIndex, settled } from './rows.ts';
import type { SavedEngine } from './saved.ts';
import { rowsOf, rowViewOf, viewOf } from './views.ts';

const nothing: readonly RowEntry[] = [];

export class Engine implements Inspector, RowKeeper {
  readonly transitions$ = new Subject<Transition>();
  readonly ops$ = new Subject<OpRecord>();
  readonly #kinds: readonly Kind[];
  readonly #population: Population;
  readonly #rows: RowIndex;
  readonly #store: ActualStore;
  readonly #sources = new Set<string>();
  /** Orphans that wait for their sources. */
  readonly #heldBack = new Set<RowEntry>();
  /** Machines that may have become settled in this step. */
  readonly #restless = new Set<Machine>();
  /** Ops of earlier runs, as JSON, to explain rows that were there at the start. */
  readonly #pastOps = new Map<string, string>();
  readonly #opCounts = new Map<TableName, { ok: number; failed: number }>();
  #changes: RowChange[] = [];
  #cause: Cause = { seq: 0, at: 0, source: '', type: 'agent.started', subject: '' };
  #events = 0;
  #driftRepaired = 0;
  #inFlight = 0;
  /** Of the kernel lane; and the rows of that lane that changed meanwhile. */
  #kernelInFlight = 0;
  readonly #waiting = new Set<RowEntry>();
  /** Of the rows that were looked at last: see `RowEntry.mark`. */
  #mark = 0;

  /** With `cold`, what is seldom needed is there and not in memory; nobody sees a difference. */
  constructor(kinds: readonly Kind[], store: ActualStore, cold?: Cold) {
    this.#kinds = kinds;
    this.#store = store;
    this.#rows = new RowIndex(cold && asks(store) ? new ColdRows(store, cold.rowsMax) : undefined);
    this.#population = new Population(kinds, this, (transition) => this.transitions$.next(transition), cold);
    if (asks(store)) return;
    for (const { table, key, op } of store.rows()) if (op) this.#pastOps.set(`${table} ${key}`, op);
  }

  /** Between two steps; what it refers to changes with the next one. */
  save(): SavedEngine {
    return {
      population: this.#population.save(),
      rows: this.#rows.save(),
      failed: this.#rows.failed,
      waiting: this.#waiting,
      heldBack: this.#heldBack,
      sources: this.#sources,
      pastOps: this.#pastOps,
      opCounts: this.#opCounts,
      cause: this.#cause,
      events: this.#events,
      driftRepaired: this.#driftRepaired,
      inFlight: this.#inFlight,
      kernelInFlight: this.#kernelInFlight,
      mark: this.#mark,
    };
  }

  /** The engine that `saved` was of; it goes on with the next event. */
  static load(kinds: readonly Kind[], store: ActualStore, saved: SavedEngine): Engine {
    const engine = new Engine(kinds, store);
    engine.#population.load(saved.population);
    engine.#rows.load(saved.rows, saved.failed);
    for (const entry of saved.waiting) engine.#waiting.add(entry);
    for (const entry of saved.heldBack) engine.#heldBack.add(entry);
    for (const source of saved.sources) engine.#sources.add(source);
    for (const [name, op] of saved.pastOps) engine.#pastOps.set(name, op);
    for (const [table, counts] of saved.opCounts) engine.#opCounts.set(table, counts);
    engine.#cause = saved.cause;
    engine.#events = saved.events;
    engine.#driftRepaired = saved.driftRepaired;
    engine.#inFlight = saved.inFlight;
    engine.#kernelInFlight = saved.kernelInFlight;
    engine.#mark = saved.mark;
    return engine;
  }

  /** Takes one event to its end; the returned steps are to be applied in order, and reported by `ops.done`. */
  step({ seq, at, source, event }: LogEntry): Step[] {
    this.#cause = { seq, at, source, type: event.type, subject: subjectOf(event) };
    this.#events++;
    this.#changes = [];
    if (event.type === 'ops.done') for (const result of event.results) this.#done(result);
    else if (event.type === 'observed') this.#observe(event.table, event.changes);
    else if (event.type === 'kube.deleted') this.#missed(`${event.resource}/${objectKey(event.object)}`);
    else if (event.type === 'source.synced') this.#synced(event.source);
    this.#population.announce(event, this.#cause);
    this.#population.run(this.#cause);
    while (this.#calm()) this.#population.run(this.#cause);
    const steps = plan(this.#difference());
    this.#store.write(this.#changes);
    this.#population.rest();
    this.#rows.rest();
    return steps;
  }

  // --- machines' wishes (RowKeeper)

  rewrite(machine: Machine, rows: readonly Row[], by: Transition): void {
    machine.rows = this.#reconsider(machine, machine.rows, rows, by, undefined);
    this.#restless.add(machine);
  }

  rewriteGroup(machine: Machine, group: string, rows: readonly Row[], by: Transition): void {
    const { named } = machine.kind.groups ?? {};
    if (named) {
      this.#rewriteNamed(machine, group, named.rows(group), rows, by);
      return;
    }
    const before = machine.groups.get(group) as readonly RowEntry[] | undefined;
    const now = this.#reconsider(machine, before ?? nothing, rows, by, undefined);
    if (now.length > 0) machine.groups.set(group, now);
    else machine.groups.delete(group);
  }

  /** Nothing but names refers to the rows, so that they need not be in memory. */
  #rewriteNamed(
    machine: Machine,
    group: string,
    names: readonly RowName[] | undefined,
    rows: readonly Row[],
    by: Transition,
  ): void {
    const before = (names ?? machine.groups.get(group) ?? []).flatMap(({ table, key }) => {
      const entry = this.#rows.get(table, key);
      return entry?.wants.has(machine.key) ? [entry] : [];
    });
    const now = this.#reconsider(machine, before, rows, by, machine.key);
    if (names) return;
    if (now.length > 0)
      machine.groups.set(
        group,
        now.map(({ table, key }) => ({ table, key })),
      );
    else machine.groups.delete(group);
  }

  #reconsider(
    machine: Machine,
    before: readonly RowEntry[],
    rows: readonly Row[],
    by: Transition,
    namedBy: string | undefined,
  ): RowEntry[] {
    this.#mark += 2;
    const wasHere = this.#mark;
    const isHere = wasHere + 1;
    for (const entry of before) entry.mark = wasHere;
    const now: RowEntry[] = [];
    let next = 0;
    for (const row of rows) {
      // Mostly the rows of before in their order, with one less now and then: no need to look them up.
      if (!isOf(before[next], row) && isOf(before[next + 1], row)) next++;
      const known = before[next];
      const isNext = isOf(known, row);
      if (isNext) next++;
      const entry = isNext ? known : this.#rows.ensure(row.table, row.key);
      const { mark } = entry;
      entry.mark = isHere;
      entry.namedBy = namedBy;
      if (mark !== isHere) now.push(entry);
      if (!this.#rows.want(entry, row.value, machine.key, by) && mark === wasHere) continue;
      this.#watch(machine, entry);
    }
    for (const entry of before) {
      if (entry.mark === isHere) continue;
      this.#rows.unwant(entry, machine.key);
      this.#watch(machine, entry);
    }
    return now;
  }

  await(machine: Machine): void {
    this.#restless.add(machine);
  }

  retry(machine: Machine): void {
    for (const entry of machine.unsettled) if (entry.error) this.#rows.touch(entry, 'retry');
  }

  #watch(machine: Machine, entry: RowEntry): void {
    if (tables[entry.table].unawaited) {
      entry.watchers.delete(machine.key);
      return;
    }
    if (settled(entry)) {
      if (machine.unsettled.delete(entry)) machine.owedSettled = true;
    } else if (!machine.unsettled.has(entry)) {
      entry.watchers.set(machine.key, true);
      machine.unsettled.add(entry);
      machine.owedSettled = true;
    }
  }

  /** Tells machines that they are settled, and buries those that are over; false when there was nothing to tell. */
  #calm(): boolean {
    let told = false;
    for (const entry of this.#rows.dirty) this.#settle(entry);
    for (const machine of this.#restless) {
      if (this.#population.isAwaited(machine)) releaseStuck(machine);
      if (machine.unsettled.size > 0 || !machine.owedSettled) continue;
      machine.owedSettled = false;
      told = true;
      if (machine.snapshot.status === 'done') this.#population.bury(machine, this.#cause);
      else this.#population.send(machine.key, { type: 'settled' });
    }
    this.#restless.clear();
    return told;
  }

  // --- news of the world

  #done({ table, key, revision, action, error }: OpDone): void {
    const entry = isTableName(table) ? this.#rows.get(table, key) : undefined;
    const op = entry?.inFlight;
    if (!entry || !op || op.revision !== revision || op.action !== action) return;
    entry.inFlight = undefined;
    this.#count(entry, -1);
    const record = finished(op, this.#cause.at, error);
    entry.lastOp = record;
    const counts = this.#opCounts.get(entry.table) ?? { ok: 0, failed: 0 };
    this.#opCounts.set(entry.table, counts);
    if (error) counts.failed++;
    else counts.ok++;
    if (!error) {
      this.#rows.setActual(entry, op.action === 'put' ? op.value : undefined);
      this.#persist(entry, record);
      if (op.reason === 'drift') this.#driftRepaired++;
    }
    if (this.ops$.observed) this.ops$.next(record);
    if (error && entry.revision === revision) this.#failed(entry, error);
    else this.#rows.dirty.add(entry);
    this.#settle(entry);
  }

  #failed(entry: RowEntry, error: NonNullable<OpDone['error']>): void {
    this.#rows.fail(entry, error);
    for (const key of entry.watchers.keys()) {
      const machine = this.#population.machines.get(key);
      if (machine) this.#restless.add(machine);
      if (error.kind === 'cancelled') continue;
      this.#population.send(key, { type: 'failed', table: entry.table, key: entry.key, error });
    }
  }

  #settle(entry: RowEntry): void {
    if (!settled(entry)) return;
    for (const key of entry.watchers.keys()) {
      const machine = this.#population.machines.get(key);
      if (machine?.unsettled.delete(entry)) {
        machine.owedSettled = true;
        this.#restless.add(machine);
      }
      if (!entry.wants.has(key)) entry.watchers.delete(key);
    }
    this.#rows.sweep(entry);
  }

  #observe(table: string, changes: readonly { key: string; value: unknown }[]): void {
    if (!isTableName(table)) return;
    for (const { key, value } of changes) {
      const entry = this.#rows.ensure(table, key);
      if (entry.inFlight) continue;
      this.#recall(entry);
      this.#rows.setActual(entry, value ?? undefined);
      this.#persist(entry, entry.lastOp);
      this.#rows.touch(entry, 'drift');
      for (const owner of entry.wants.keys()) {
        const machine = this.#population.machines.get(owner);
        if (machine) this.#watch(machine, entry);
      }
      this.#settle(entry);
    }
    for (const entry of [...this.#rows.failed]) if (entry.table === table) this.#rows.touch(entry, 'retry');
  }

  /** An object that is not there any more; if it is one of ours, somebody else has deleted it. */
  #missed(key: string): void {
    const entry = this.#rows.peek('kube.objects', key);
    if (entry?.actual !== undefined) this.#observe('kube.objects', [{ key, value: undefined }]);
  }

  #recall(entry: RowEntry): void {
    if (entry.lastOp) return;
    const name = `${entry.table} ${entry.key}`;
    const past = this.#store.row ? this.#store.row(entry.table, entry.key)?.op : this.#pastOps.get(name);
    this.#pastOps.delete(name);
    if (past) entry.lastOp = readOp(past).op;
  }

  #synced(source: string): void {
    // What was ours and is not in the first list went while nobody was there.
    const resource = /^kube\/(.+)$/.exec(source)?.[1];
    if (resource && !this.#sources.has(source)) {
      const own = [...this.#rows.table('kube.objects')].filter(({ key }) => key.startsWith(`${resource}/`));
      for (const { key } of own) if (!this.#population.knows(`every/${resource}`, key)) this.#missed(key);
    }
    this.#sources.add(source);
    for (const entry of this.#heldBack) this.#rows.dirty.add(entry);
    this.#heldBack.clear();
  }

  #persist(entry: RowEntry, op: OpRecord | undefined): void {
    if (this.#store.forgets || !tables[entry.table].durable) return;
    const json = entry.actualJson;
    const text = op && json !== undefined ? writtenOp(op, entry) : '';
    entry.isWritten = text !== '' && isWhole(entry);
    this.#changes.push({ table: entry.table, key: entry.key, json, op: text });
  }

  // --- wanted against actual

  #difference(): Op[] {
    const ops: Op[] = [];
    const mustWait = this.#kernelInFlight > 0;
    for (const entry of this.#rows.dirty) {
      if (tables[entry.table].lane === 'kernel') this.#waiting.add(entry);
      else this.#plan(entry, ops);
    }
    this.#rows.dirty.clear();
    if (mustWait) return ops;
    joinFailed(this.#rows, this.#waiting, this.#population.machines);
    for (const entry of this.#waiting) this.#plan(entry, ops);
    this.#waiting.clear();
    return ops;
  }

  #plan(entry: RowEntry, ops: Op[]): void {
    const op = this.#opFor(entry);
    if (op) ops.push(op);
  }

  #count({ table }: RowEntry, change: 1 | -1): void {
    this.#inFlight += change;
    if (tables[table].lane === 'kernel') this.#kernelInFlight += change;
  }

  #opFor(entry: RowEntry): Op | undefined {
    if (entry.inFlight || entry.error) return undefined;
    const wanted = decided(entry)?.want;
    if (wanted?.json === entry.actualJson) return undefined;
    if (!wanted && this.#isHeldBack(entry)) {
      this.#heldBack.add(entry);
      return undefined;
    }
    const { op, record } = begun(entry, wanted, this.#cause);
    entry.inFlight = record;
    entry.lastOp = record;
    this.#count(entry, 1);
    if (this.ops$.observed) this.ops$.next(record);
    return op;
  }

  #isHeldBack(entry: RowEntry): boolean {
    return !entry.everWanted && !tables[entry.table].sources.every((source) => this.#sources.has(source));
  }

  // --- to be looked at (Inspector)

  /** Actual rows of a table, for a dump to be compared with; rows with an op under way are left out. */
  actual(table: TableName): Map<string, unknown> {
    const known = new Map<string, unknown>();
    for (const entry of this.#rows.table(table)) {
      if (entry.actualJson !== undefined) known.set(entry.key, entry.actual);
    }
    return known;
  }

  /** Objects of ours that are said to be there, and of which the watch of their resource has not told. */
  untold(): string[] {
    const isUntold = (key: string): boolean => {
      const resource = key.slice(0, key.indexOf('/'));
      return this.#sources.has(`kube/${resource}`) && !this.#population.knows(`every/${resource}`, key);
    };
    return [...this.#rows.table('kube.objects')]
      .filter(({ key, actualJson, inFlight }) => actualJson !== undefined && !inFlight && isUntold(key))
      .map(({ key }) => key);
  }

  hasFailed(table: TableName): boolean {
    return [...this.#rows.failed].some((entry) => entry.table === table && entry.error);
  }

  machines(): MachineView[] {
    return [...this.#population.machines.values()].map((machine) => this.#viewOf(machine));
  }

  /** Ops that are under way. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Rows with an op under way, or with one that failed. */
  pending(): { table: TableName; key: string; error?: OpError }[] {
    return this.#rows.pending().map(({ table, key, error }) => ({ table, key, ...(error && { error }) }));
  }

  /** Events that are still true: of objects, links, keys, sources and the agent itself. */
  heard(): Iterable<ClusterEvent> {
    return this.#population.heard();
  }

  contexts(kind: string): unknown[] {
    const found: unknown[] = [];
    for (const machine of this.#population.machines.values())
      if (machine.kind.name === kind) found.push(machine.snapshot.context);
    return found;
  }

  machine(key: string): (MachineView & { history: Transition[] }) | undefined {
    const machine = this.#population.machines.get(key);
    return machine && { ...this.#viewOf(machine), history: machine.history };
  }

  #viewOf(machine: Machine): MachineView {
    return viewOf(machine, () => rowsOf(machine, this.#rows), this.#heldBack);
  }

  kinds(): { name: string; logic: unknown }[] {
    return this.#kinds.map(({ name, logic }) => ({ name, logic }));
  }

  rows(table: TableName): RowView[] {
    return [...this.#rows.table(table)].map((entry) => rowViewOf(entry, this.#heldBack));
  }

  explain(table: TableName, key: string): Explanation | undefined {
    const entry = this.#rows.peek(table, key);
    if (!entry) return undefined;
    const wanted = decided(entry)?.want.by;
    return {
      row: rowViewOf(entry, this.#heldBack),
      ...(wanted && { wanted }),
      ...(entry.lastOp && { op: entry.lastOp }),
    };
  }

  stats(): EngineStats {
    let pending = 0;
    for (const machine of this.#population.machines.values()) pending += machine.unsettled.size;
    return {
      seq: this.#cause.seq,
      events: this.#events,
      transitions: this.#population.transitions,
      machines: this.#population.machines.size,
      rows: this.#rows.count(),
      ops: [...this.#opCounts].map(([table, counts]) => ({ table, ...counts })),
      pending,
      inFlight: this.#inFlight,
      driftRepaired: this.#driftRepaired,
      sources: [...this.#sources],
    };
  }
}
