/** What the tables of services have in common: maps and codecs, reading a table whole, and keys that name what nobody knows. */
import type { BpfMap } from '../../native/index.ts';
import type { Codec, Codecs } from '../codec.ts';
import type { Op, OpError, OpResult } from '../driver.ts';
import { driverError, kernelError, opName } from '../errors.ts';
import type { Entry } from './map-entries.ts';

/** Read before the event loop gets a turn. */
const CHUNK_ENTRIES = 2048;

export interface ServiceMaps {
  maps(name: string): BpfMap;
  codecs: Codecs;
}

export interface Found {
  rows: Map<string, unknown>;
  /** Believes it from now on; for what was read while nothing changed. */
  adopt(): void;
}

/** One table. `read` pauses at each `yield`. */
export interface ServiceTable {
  /** Of one action. */
  apply(ops: readonly Op[]): OpResult[];
  read(known: ReadonlyMap<string, unknown>): Generator<void, Found>;
}

/** An entry whose name nobody knows. */
export const unnamed = (number: number): string => `#${number}`;
const UNNAMED = /^#([1-9]\d{0,9})$/;
export const unnamedNumber = (key: string): number | undefined => {
  const digits = UNNAMED.exec(key)?.[1];
  return digits === undefined ? undefined : Number(digits);
};

/** A map with its codecs; keys and values are read in place. */
export class NumberedMap<K, V> {
  readonly map: BpfMap;
  readonly name: string;
  readonly #key: Codec;
  readonly #value: Codec;

  constructor({ maps, codecs }: ServiceMaps, name: string) {
    const { key, value } = codecs.map(name);
    this.map = maps(name);
    this.name = name;
    this.#key = key;
    this.#value = value;
  }

  keyOf(key: K): Buffer {
    const bytes = pooled(this.#key.size);
    this.#key.write(key, bytes, 0);
    return bytes;
  }

  valueOf(value: V): Buffer {
    const bytes = pooled(this.#value.size);
    this.#value.write(value, bytes, 0);
    return bytes;
  }

  entry(at: number, op: Op, key: K, value: V): Entry {
    return { at, op, key: this.keyOf(key), value: this.valueOf(value) };
  }

  /** All entries, with a pause after each chunk. */
  *each(visit: (key: K, value: V) => void): Generator<void, void> {
    const { keySize, valueBytes } = this.map.info;
    for (const { keys, values, count } of this.map.chunks(CHUNK_ENTRIES)) {
      for (let i = 0; i < count; i++)
        visit(this.#key.read(keys, i * keySize) as K, this.#value.read(values, i * valueBytes) as V);
      yield;
    }
  }
}

/** Zeroes out of Node's pool: of a hundred thousand small buffers with memory of their own, much is never given back. */
export const pooled = (size: number): Buffer => Buffer.allocUnsafe(size).fill(0);

/** What the row refers to is not in the kernel; it may come. */
export class Missing extends Error {
  constructor(what: string) {
    super(`${what} is not in the kernel`);
  }
}

/** What each op means, or the reason why it means nothing. */
export function planned<P>(ops: readonly Op[], results: OpResult[], plan: (op: Op, at: number) => P | undefined): P[] {
  const plans: P[] = [];
  ops.forEach((op, at) => {
    try {
      const made = plan(op, at);
      if (made !== undefined) plans.push(made);
    } catch (error) {
      results[at] = refusal(error, opName(op));
    }
  });
  return plans;
}

function refusal(error: unknown, object: string): OpError {
  if (error instanceof Missing) return kernelError('ENOENT', `${object}: ${error.message}`, true);
  return driverError(error, object);
}
