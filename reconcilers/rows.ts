/**
 * All rows, wanted and actual, and what differs between them.
 *
 * - A row is settled when wanted equals actual and no op on it is under way.
 * - Of several machines that want one row, the one with the smallest key decides its value; one that yields in that table comes last.
 * - Each change of what is wanted raises the row's revision; an op's result counts for its own revision only.
 */
import type { OpError } from '../cluster/events.ts';
import { canonical, type Row, type TableName, tables } from '../state/tables.ts';
import type { ColdRows } from './cold-rows.ts';
import { Few } from './few.ts';
import type { OpRecord, RowState, Transition } from './inspect.ts';

export interface Want {
  json: string;
  value: unknown;
  /** The transition that gave the row this value. */
  by: Transition;
}

export interface RowEntry {
  readonly table: TableName;
  readonly key: string;
  readonly wants: Few<Want>;
  /** Machines that wait for this row to settle: those that want it, and those that gave it up. */
  readonly watchers: Few<true>;
  /** Somebody wanted the row since the start; if not, it is an orphan, whose delete waits for the table's sources. */
  everWanted: boolean;
  actualJson: string | undefined;
  actual: unknown;
  revision: number;
  inFlight: OpRecord | undefined;
  error: OpError | undefined;
  lastOp: OpRecord | undefined;
  /** Why the next op on this row will be: set when a dump or a retry made it dirty. */
  why: OpRecord['reason'];
  /** Of the last look at its machine's rows that saw it; no two looks have the same. */
  mark: number;
  /** The machine that wants it and refers to it by name only. */
  namedBy: string | undefined;
  /** The store has all of this. */
  isWritten: boolean;
}

export const isOf = (entry: RowEntry | undefined, { table, key }: Row): entry is RowEntry =>
  entry !== undefined && entry.key === key && entry.table === table;

export class RowIndex {
  readonly #entries = new Map<TableName, Map<string, RowEntry>>(
    (Object.keys(tables) as TableName[]).map((table) => [table, new Map()]),
  );
  /** Rows to look at before the next plan. */
  readonly dirty = new Set<RowEntry>();
  /** Rows with an error. */
  readonly failed = new Set<RowEntry>();
  readonly #cold: ColdRows | undefined;

  constructor(cold: ColdRows | undefined) {
    this.#cold = cold;
  }

  /** Those that are not in memory as copies. */
  *table(table: TableName): Generator<RowEntry> {
    yield* this.#warm(table).values();
    if (this.#cold) yield* this.#cold.all(table);
  }

  #warm(table: TableName): Map<string, RowEntry> {
    const entries = this.#entries.get(table);
    if (!entries) throw new Error(`no table ${table}`);
    return entries;
  }

  get(table: TableName, key: string): RowEntry | undefined {
    const entries = this.#warm(table);
    const warm = entries.get(key);
    if (warm || !this.#cold) return warm;
    const entry = this.#cold.take(table, key);
    if (entry) entries.set(key, entry);
    return entry;
  }

  /** To be looked at only: of a cold row a copy. */
  peek(table: TableName, key: string): RowEntry | undefined {
    return this.#warm(table).get(key) ?? this.#cold?.copy(table, key);
  }

  /** Between two events. */
  rest(): void {
    this.#cold?.rest((entry) => this.#warm(entry.table).delete(entry.key));
  }

  /** Those that are not in memory come into it. */
  save(): Map<TableName, Map<string, RowEntry>> {
    for (const [table, entries] of this.#entries)
      for (const { key } of [...(this.#cold?.all(table) ?? [])]) if (!entries.has(key)) this.get(table, key);
    return new Map([...this.#entries].filter(([, entries]) => entries.size > 0));
  }

  load(saved: ReadonlyMap<TableName, Map<string, RowEntry>>, failed: ReadonlySet<RowEntry>): void {
    for (const [table, entries] of saved) {
      for (const { wants, watchers } of entries.values()) {
        Few.from(wants);
        Few.from(watchers);
      }
      this.#entries.set(table, entries);
    }
    for (const entry of failed) this.failed.add(entry);
  }

  count(): number {
    let sum = this.#cold?.size ?? 0;
    for (const entries of this.#entries.values()) sum += entries.size;
    return sum;
  }

  pending(): RowEntry[] {
    const found: RowEntry[] = [];
    for (const entries of this.#entries.values())
      for (const entry of entries.values()) if (entry.inFlight || entry.error) found.push(entry);
    return found;
  }

  ensure(table: TableName, key: string): RowEntry {
    let entry = this.get(table, key);
    if (!entry) {
      entry = {
        table,
        key,
        wants: new Few(),
        watchers: new Few(),
        everWanted: false,
        actualJson: undefined,
        actual: undefined,
        revision: 0,
        inFlight: undefined,
        error: undefined,
        lastOp: undefined,
        why: 'desired',
        mark: 0,
        namedBy: undefined,
        isWritten: false,
      };
      this.#warm(table).set(key, entry);
    }
    return entry;
  }

  /** False: the machine wants just this already. What is the same object needs no looking at. */
  want(entry: RowEntry, value: unknown, machine: string, by: Transition): boolean {
    const before = entry.wants.get(machine);
    if (before?.value === value) return false;
    const json = canonical(value);
    if (before?.json === json) {
      // The machine will say this object again.
      before.value = value;
      return false;
    }
    entry.wants.set(machine, { json, value, by });
    entry.watchers.set(machine, true);
    entry.everWanted = true;
    this.touch(entry, 'desired');
    return true;
  }

  unwant(entry: RowEntry, machine: string): void {
    if (entry.wants.delete(machine)) this.touch(entry, 'desired');
  }

  /** The row must be looked at again; earlier failures no longer hold it back. */
  touch(entry: RowEntry, why: OpRecord['reason']): void {
    entry.revision++;
    entry.error = undefined;
    this.failed.delete(entry);
    entry.why = why;
    entry.isWritten = false;
    this.dirty.add(entry);
  }

  setActual(entry: RowEntry, value: unknown): void {
    const want = decided(entry)?.want;
    entry.actual = value;
    // What was wanted is mostly what came to be: its text is there already.
    entry.actualJson = value === undefined ? undefined : want && want.value === value ? want.json : canonical(value);
  }

  /** Forgets a row that is neither wanted nor actual; one that is settled may become cold. */
  sweep(entry: RowEntry): void {
    this.#cold?.touch(entry);
    const entries = this.#entries.get(entry.table);
    // One that was swept before may still be in a set somewhere, while its key has a new entry.
    if (entries?.get(entry.key) !== entry) return;
    if (entry.wants.size === 0 && entry.actualJson === undefined && !entry.inFlight && entry.watchers.size === 0) {
      entries.delete(entry.key);
      this.failed.delete(entry);
    }
  }

  fail(entry: RowEntry, error: OpError): void {
    entry.error = error;
    this.failed.add(entry);
  }
}

function inOrder({ table, wants }: RowEntry): string[] {
  const keys = wants.keys().sort();
  const { yields } = tables[table];
  return yields !== undefined && wants.has(yields) ? [...keys.filter((key) => key !== yields), yields] : keys;
}

/** The want that decides, and whose it is. */
export function decided(entry: RowEntry): { owner: string; want: Want } | undefined {
  const owner = entry.wants.only ?? inOrder(entry)[0];
  if (owner === undefined) return undefined;
  return { owner, want: entry.wants.get(owner) as Want };
}

export function settled(entry: RowEntry): boolean {
  if (entry.inFlight) return false;
  const { only } = entry.wants;
  const want = only === undefined ? decided(entry)?.want : entry.wants.get(only);
  return want?.json === entry.actualJson;
}

export function stateOf(entry: RowEntry, heldBack: boolean): RowState {
  if (entry.inFlight) return 'in-flight';
  if (entry.error) return 'failed';
  if (settled(entry)) return 'in-sync';
  if (heldBack) return 'held-back';
  return entry.wants.size === 0 && !entry.everWanted ? 'orphan' : 'pending';
}
