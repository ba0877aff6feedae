/**
 * Map `maglev`: the table of a backend set, swapped as a whole.
 *
 * - Programs that read while a table is swapped have the old one or the new one.
 * - The kernel waits for its readers at each change of a map of maps (some milliseconds): tables are swapped in batches.
 */
import { type BpfMap, createMap, mapFlags } from '../../native/index.ts';
import type { Op, OpResult } from '../driver.ts';
import { driverError, opName } from '../errors.ts';
import { maglevTable } from '../maglev.ts';
import { type Entry, putEntries } from './map-entries.ts';

/** struct maglev_line of bpf/lib/structs-services.h. */
const LINE_BYTES = 64;
/** Inner maps that are open at a time. */
const TABLES_MAX = 128;

export interface TableChange {
  at: number;
  op: Op;
  set: number;
  /** Keys of `bpf.backends`, and their numbers. */
  backends: readonly string[];
  numbers: readonly number[];
  size: number;
}

export function swapTables(map: BpfMap, changes: readonly TableChange[], results: OpResult[]): void {
  for (let from = 0; from < changes.length; from += TABLES_MAX) {
    const tables: BpfMap[] = [];
    const entries: Entry[] = [];
    for (const change of changes.slice(from, from + TABLES_MAX)) {
      const { at, op, set } = change;
      if (results[at]) continue;
      try {
        const table = makeTable(change);
        tables.push(table);
        entries.push({ at, op, key: setBytes(set), value: table });
      } catch (error) {
        results[at] = driverError(error, opName(op));
      }
    }
    putEntries(map, 'maglev', entries, results);
    for (const table of tables) table.close();
  }
}

function makeTable({ backends, numbers, size }: TableChange): BpfMap {
  const lines = Math.ceil((4 * size) / LINE_BYTES);
  const keys = Buffer.alloc(4 * lines);
  for (let line = 0; line < lines; line++) keys.writeUInt32LE(line, 4 * line);
  const values = Buffer.alloc(lines * LINE_BYTES);
  maglevTable(backends, size).forEach((index, slot) => values.writeUInt32LE(numbers[index] ?? 0, 4 * slot));
  const layout = { keySize: 4, valueSize: LINE_BYTES, maxEntries: lines, flags: mapFlags.innerMap };
  const table = createMap({ type: 'array', name: 'maglev_inner', ...layout });
  try {
    table.putBatch(keys, values, lines);
    return table;
  } catch (error) {
    table.close();
    throw error;
  }
}

/** A set's number as the map's key. */
export function setBytes(set: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(set);
  return bytes;
}
