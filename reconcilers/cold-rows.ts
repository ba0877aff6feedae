/**
 * Rows that are as they should be and were not looked at lately: the store has all of them, so that memory need not.
 *
 * - Only rows of one owner that keeps no list of them: nothing in memory refers to a row that is cold.
 * - What comes back is what went: its owner and the transition that gave the value, its revision, its last op.
 */

import { Fingerprints } from '../state/fingerprints.ts';
import type { RowChange, WrittenRow } from '../state/store.ts';
import { type TableName, tables } from '../state/tables.ts';
import { Few } from './few.ts';
import { readOp, writtenOp } from './op-records.ts';
import { decided, type RowEntry, settled, type Want } from './rows.ts';

export interface RowStore {
  row(table: TableName, key: string): WrittenRow | undefined;
  rowsOf(table: TableName): WrittenRow[];
  write(changes: readonly RowChange[]): void;
}

/** Rows that become cold at a time: some hundred microseconds at most. */
const AT_ONCE = 16;

const nameOf = (table: TableName, key: string): string => `${table} ${key}`;

export class ColdRows {
  readonly #store: RowStore;
  readonly #rowsMax: number;
  readonly #cold = new Fingerprints();
  readonly #counts = new Map<TableName, number>();
  /** Rows in memory that may be ready to leave it, the one that was looked at the longest ago first. */
  readonly #idle = new Set<RowEntry>();

  constructor(store: RowStore, rowsMax: number) {
    this.#store = store;
    this.#rowsMax = rowsMax;
  }

  get size(): number {
    return this.#cold.size;
  }

  /** It was looked at, and may be ready to leave. */
  touch(entry: RowEntry): void {
    if (entry.namedBy === undefined) return;
    this.#idle.delete(entry);
    this.#idle.add(entry);
  }

  /** It is cold no longer. */
  take(table: TableName, key: string): RowEntry | undefined {
    if (this.#cold.size === 0 || !this.#cold.delete(nameOf(table, key))) return undefined;
    this.#counts.set(table, (this.#counts.get(table) ?? 0) - 1);
    const written = this.#store.row(table, key);
    if (!written) throw new Error(`row ${table} ${key} is in the store no longer`);
    const entry = entryOf(table, written);
    this.#idle.add(entry);
    return entry;
  }

  /** A copy; it stays cold. */
  copy(table: TableName, key: string): RowEntry | undefined {
    if (!this.#cold.has(nameOf(table, key))) return undefined;
    const written = this.#store.row(table, key);
    return written && entryOf(table, written);
  }

  /** Copies of all that are cold. */
  *all(table: TableName): Generator<RowEntry> {
    if ((this.#counts.get(table) ?? 0) === 0) return;
    for (const written of this.#store.rowsOf(table))
      if (this.#cold.has(nameOf(table, written.key))) yield entryOf(table, written);
  }

  /** Between two events; `leave` takes an entry out of memory. What the disk has no room for stays. */
  rest(leave: (entry: RowEntry) => void): void {
    if (this.#idle.size < this.#rowsMax + Math.min(AT_ONCE, this.#rowsMax + 1)) return;
    const leaving: RowEntry[] = [];
    for (const entry of this.#idle) {
      if (this.#idle.size <= this.#rowsMax || leaving.length >= 2 * AT_ONCE) break;
      this.#idle.delete(entry);
      if (isReady(entry)) leaving.push(entry);
    }
    try {
      this.#store.write(leaving.flatMap((entry) => (entry.isWritten ? [] : [changeOf(entry)])));
    } catch {
      return;
    }
    for (const entry of leaving) {
      this.#cold.add(nameOf(entry.table, entry.key));
      this.#counts.set(entry.table, (this.#counts.get(entry.table) ?? 0) + 1);
      leave(entry);
    }
  }
}

const changeOf = (entry: RowEntry): RowChange => ({
  table: entry.table,
  key: entry.key,
  json: entry.actualJson,
  op: entry.lastOp ? writtenOp(entry.lastOp, entry) : '',
});

/** Nothing is to be done on it, and nothing in memory refers to it. */
function isReady(entry: RowEntry): boolean {
  const { namedBy, wants, watchers, actualJson, error, lastOp } = entry;
  return (
    namedBy !== undefined &&
    wants.only === namedBy &&
    (watchers.size === 0 || watchers.only === namedBy) &&
    actualJson !== undefined &&
    error === undefined &&
    lastOp !== undefined &&
    lastOp.error === undefined &&
    tables[entry.table].durable &&
    settled(entry)
  );
}

function entryOf(table: TableName, { key, json, op: text }: WrittenRow): RowEntry {
  const { op, by, revision } = readOp(text);
  if (!op || !by) throw new Error(`row ${table} ${key} was written without its owner`);
  const value: unknown = JSON.parse(json);
  const wants = new Few<Want>();
  const watchers = new Few<true>();
  wants.set(by.machine, { json, value, by });
  if (!tables[table].unawaited) watchers.set(by.machine, true);
  return {
    table,
    key,
    wants,
    watchers,
    everWanted: true,
    actualJson: json,
    actual: value,
    revision,
    inFlight: undefined,
    error: undefined,
    lastOp: op,
    why: 'desired',
    mark: 0,
    namedBy: by.machine,
    isWritten: true,
  };
}

/** What is written of a row's op says who wants it, too. */
export const isWhole = (entry: RowEntry): boolean =>
  entry.wants.only !== undefined && decided(entry)?.want.json === entry.actualJson;
