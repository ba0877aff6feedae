/**
 * Table `bpf.backends`: backend id → address, port and protocol; the row's key says the same.
 *
 * - A number is a backend's for as long as its row is there, and is not soon another's.
 * - Sockets that are connected to a backend of datagrams are told when it goes: `onGone`.
 */
import { type BackendRow, backendKey } from '../../state/tables.ts';
import type { Op, OpResult } from '../driver.ts';
import { Numbers } from '../numbers.ts';
import { parseServiceKey, protocolNumber, protocolOf } from '../service-keys.ts';
import { deleteEntries, putEntries } from './map-entries.ts';
import {
  type Found,
  NumberedMap,
  planned,
  type ServiceMaps,
  type ServiceTable,
  unnamed,
  unnamedNumber,
} from './service-table.ts';

interface Value {
  addr: string;
  port: number;
  proto: number;
}

export class ServiceBackends implements ServiceTable {
  readonly #map: NumberedMap<number, Value>;
  readonly #numbers = new Numbers();
  /** In the kernel, as far as is known. */
  readonly #there = new Set<string>();
  readonly #onGone: (rows: readonly BackendRow[]) => void;

  constructor(maps: ServiceMaps, onGone: (rows: readonly BackendRow[]) => void) {
    this.#map = new NumberedMap(maps, 'backends');
    this.#onGone = onGone;
  }

  get size(): number {
    return this.#there.size;
  }

  numberOf(key: string): number | undefined {
    return this.#there.has(key) ? this.#numbers.of(key) : undefined;
  }

  nameOf(number: number): string {
    const name = this.#numbers.nameOf(number);
    return name !== undefined && this.#there.has(name) ? name : unnamed(number);
  }

  apply(ops: readonly Op[]): OpResult[] {
    const results: OpResult[] = ops.map(() => undefined);
    if (ops[0]?.action === 'put') this.#put(ops, results);
    else this.#delete(ops, results);
    return results;
  }

  #put(ops: readonly Op[], results: OpResult[]): void {
    const entries = planned(ops, results, (op, at) => {
      const { address, port, protocol } = op.value as BackendRow;
      parseServiceKey(op.key);
      if (backendKey({ address, port, protocol }) !== op.key)
        throw new TypeError(`address, port and protocol are ${JSON.stringify(op.value)}, another backend's`);
      const value = this.#map.valueOf({ addr: address, port, proto: protocolNumber(protocol) });
      return { at, op, key: this.#map.keyOf(this.#numbers.take(op.key)), value };
    });
    putEntries(this.#map.map, this.#map.name, entries, results);
    for (const { at, op } of entries) {
      if (!results[at]) this.#there.add(op.key);
      else if (!this.#there.has(op.key)) this.#numbers.release(op.key);
    }
  }

  #delete(ops: readonly Op[], results: OpResult[]): void {
    const entries = planned(ops, results, (op, at) => {
      const number = unnamedNumber(op.key) ?? this.#numbers.of(op.key);
      return number === undefined ? undefined : { at, op, key: this.#map.keyOf(number) };
    });
    deleteEntries(this.#map.map, entries, results);
    const gone = entries.filter(({ at }) => !results[at]).map(({ op }) => op.key);
    for (const key of gone) {
      this.#there.delete(key);
      this.#numbers.release(key);
    }
    const rows = gone.filter((key) => unnamedNumber(key) === undefined).map(parseServiceKey);
    if (rows.length > 0) this.#onGone(rows);
  }

  *read(): Generator<void, Found> {
    const found = new Map<string, number>();
    const rows = new Map<string, unknown>();
    yield* this.#map.each((number, { addr, port, proto }) => {
      const row = { address: addr, port, protocol: protocolOf(proto) };
      const name = backendKey(row);
      // Of two numbers for one backend the one that is known stays.
      const twin = found.get(name);
      const key = twin === undefined || this.#numbers.of(name) === number ? name : unnamed(number);
      if (twin !== undefined && key === name) rows.set(unnamed(twin), row);
      rows.set(key, row);
      if (key === name) found.set(name, number);
    });
    return {
      rows,
      adopt: () => {
        this.#there.clear();
        for (const [name, number] of found) {
          this.#numbers.learn(name, number);
          this.#there.add(name);
        }
      },
    };
  }
}
