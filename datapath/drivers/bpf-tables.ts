/**
 * Tables that are BPF maps: one driver for all of them, rows and bytes by the codecs of the object.
 *
 * - Many rows go in one system call where the kernel has batches; when a batch fails, each row is tried by itself.
 * - A row that names a link stores its number; an entry whose link is gone is dumped as `#12`.
 */
import { setImmediate } from 'node:timers/promises';
import { type BpfMap, isErrno, type NativeError } from '../../native/index.ts';
import { type Tables, tables } from '../../state/tables.ts';
import type { Codec } from '../codec.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { attempt, driverError, kernelError, opName } from '../errors.ts';

/** Written or read before the event loop gets a turn: some 10 ms. */
const CHUNK_ENTRIES = 2048;

export type BpfTable = Extract<keyof Tables, `bpf.${string}`>;

export interface BpfTableOptions {
  table: BpfTable;
  map: BpfMap;
  key: Codec;
  value: Codec;
}

interface Encoded {
  at: number;
  op: Op;
  key: Buffer;
  value: Buffer;
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
    const encoded = ops.flatMap((op, at): Encoded[] => {
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
    if (first.action === 'put') putAll(options, encoded, results);
    else deleteAll(options, encoded, results);
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

function putAll({ table, map }: BpfTableOptions, encoded: readonly Encoded[], results: OpResult[]): void {
  if (encoded.length > 1) {
    try {
      const keys = Buffer.concat(encoded.map(({ key }) => key));
      map.putBatch(keys, Buffer.concat(encoded.map(({ value }) => value)), encoded.length);
      return;
    } catch {
      // Which one failed is found out below; writing an entry again changes nothing.
    }
  }
  for (const { at, op, key, value } of encoded) {
    try {
      map.put(key, value);
    } catch (error) {
      results[at] = isFull(error)
        ? kernelError(error.code, full(op, map, tables[table].map?.name ?? table), false)
        : driverError(error, opName(op));
    }
  }
}

function deleteAll({ map }: BpfTableOptions, encoded: readonly Encoded[], results: OpResult[]): void {
  if (encoded.length > 1) {
    try {
      map.deleteBatch(Buffer.concat(encoded.map(({ key }) => key)), encoded.length);
      return;
    } catch {
      // As above.
    }
  }
  for (const { at, op, key } of encoded) results[at] = attempt(op, () => void map.delete(key));
}

/** Hash maps say E2BIG, longest-prefix-match maps ENOSPC. */
const isFull = (error: unknown): error is NativeError => isErrno(error, 'E2BIG', 'ENOSPC');

const full = (op: Op, map: BpfMap, name: string): string =>
  `${opName(op)}: map ${name} is full: its capacity is ${map.info.maxEntries} entries`;
