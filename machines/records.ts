/**
 * A record that is a value: a change makes a new one that shares the rest with the old, and costs the same however much is in it.
 *
 * - As JSON it is an object, in the order of its keys; `recordsOf` takes either.
 */
import { PersistentMap } from '../policy/persistent-map.ts';

export class Records<T> {
  readonly #map: PersistentMap<string, T>;

  private constructor(map: PersistentMap<string, T>) {
    this.#map = map;
  }

  static from<T>(record: Readonly<Record<string, T>>): Records<T> {
    const empty = PersistentMap.empty<string, T>();
    return new Records(Object.entries(record).reduce((map, [key, value]) => map.set(key, value), empty));
  }

  get size(): number {
    return this.#map.size;
  }

  get(key: string | number): T | undefined {
    return this.#map.get(String(key));
  }

  /** `undefined` takes it out. */
  with(key: string | number, value: T | undefined): Records<T> {
    const name = String(key);
    const map = value === undefined ? this.#map.delete(name) : this.#map.set(name, value);
    return map === this.#map ? this : new Records(map);
  }

  /** In no order. */
  keys(): string[] {
    return this.#map.keys();
  }

  values(): T[] {
    return this.#map.values();
  }

  toJSON(): Record<string, T> {
    return Object.fromEntries([...this.#map.entries()].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

/** In a context: made of JSON it is a plain object. */
export type Recorded<T> = Records<T> | Readonly<Record<string, T>>;

export const recordsOf = <T>(recorded: Recorded<T>): Records<T> =>
  recorded instanceof Records ? recorded : Records.from(recorded);
