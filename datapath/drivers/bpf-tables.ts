/**
 * Tables that are BPF maps: one driver for all of them, rows and bytes by the codecs of the object.
 *
 * - Many rows go in one system call where the kernel has batches; when a batch fails, each row is tried by itself.
 * - A row that names a link stores its number; an entry whose link is gone is dumped as `#12`.
 */
import { setImmediate } from 'node:timers/promises';
import type { BpfMap } from '../../native/index.ts';
import { type Tables, tables } from '../../state/tables.ts';
import type { Codec } from '../codec.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { attempt } from '../errors.ts';
import { deleteEntries, type Entry, putEntries } from './map-entries.ts';

/** Written or read before the event loop gets a turn: some 10 ms. */
const CHUNK_ENTRIES = 2048;

export type BpfTable = Extract<keyof Tables, `bpf.${string}`>;

export interface BpfTableOptions {
  table: BpfTable;
  map: BpfMap;
  key: Codec;
  value: Codec;
}

export class BpfTablesDriver implements Driver {
  readonly tables: readonly BpfTable[];
  readonly lane = 'kernel';
  readonly #options: ReadonlyMap<string, BpfTableOptions>;
  /** As of the last dump and what was put and deleted since; what others do to the map shows at the next dump. */
  readonly #entries = new Map<string, number>();

  constructor(options: readonly BpfTableOptions[]) {
    this.tables = options.map(({ table }) => table);
    this.#options = new Map(options.map((option) => [option.table, option]));
  }

  /** Entries of the table's map. */
  entries(table: BpfTable): number {
    const counted = this.#entries.get(table) ?? this.#of(table).map.scan().count;
    this.#entries.set(table, counted);
    return counted;
  }

  apply(ops: readonly Op[]): OpResult[] | Promise<OpResult[]> {
    return ops.length <= CHUNK_ENTRIES ? this.#apply(ops) : this.#applyInChunks(ops);
  }

  async #applyInChunks(ops: readonly Op[]): Promise<OpResult[]> {
    const results: OpResult[] = [];
    for (let at = 0; at < ops.length; at += CHUNK_ENTRIES) {
      for (const result of this.#apply(ops.slice(at, at + CHUNK_ENTRIES))) results.push(result);
      await setImmediate();
    }
    return results;
  }

  #apply(ops: readonly Op[]): OpResult[] {
    const [first] = ops;
    if (!first) return [];
    const options = this.#of(first.table);
    const results: OpResult[] = ops.map(() => undefined);
    const encoded = ops.flatMap((op, at): Entry[] => {
      const key = Buffer.alloc(options.key.size);
      const value = Buffer.alloc(op.action === 'put' ? options.value.size : 0);
      results[at] = attempt(op, () => {
        if (op.action === 'put') options.value.write(op.value, value, 0);
        options.key.write(op.key, key, 0);
      });
      // A key that names a link which is gone has no entry under that name.
      if (op.action === 'delete' && results[at]?.errno === 'ENODEV') results[at] = undefined;
      else if (!results[at]) return [{ at, op, key, value }];
      return [];
    });
    const { map } = options;
    if (first.action === 'put') putEntries(map, tables[first.table].map?.name ?? first.table, encoded, results);
    else deleteEntries(map, encoded, results);
    this.#count(first.table, ops, results);
    return results;
  }

  async dump(table: string): Promise<Map<string, unknown>> {
    const { map, key, value } = this.#of(table);
    const { keySize, valueBytes } = map.info;
    const found = new Map<string, unknown>();
    for (const { keys, values, count } of map.chunks(CHUNK_ENTRIES)) {
      for (let i = 0; i < count; i++)
        found.set(String(key.read(keys, i * keySize)), value.read(values, i * valueBytes));
      await setImmediate();
    }
    this.#entries.set(table, found.size);
    return found;
  }

  #of(table: string): BpfTableOptions {
    const options = this.#options.get(table);
    if (!options) throw new Error(`table ${table} is no BPF map`);
    return options;
  }

  #count(table: string, ops: readonly Op[], results: readonly OpResult[]): void {
    const before = this.#entries.get(table);
    if (before === undefined) return;
    const changed = ops.filter((op, i) => !results[i] && (op.action === 'put') === (op.before === undefined)).length;
    this.#entries.set(table, Math.max(0, before + (ops[0]?.action === 'put' ? changed : -changed)));
  }
}
