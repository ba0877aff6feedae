/** The policy objects of a cluster as a value that a change does not copy; as JSON it is a record. */
import { PersistentMap } from '../policy/persistent-map.ts';
import type { PolicyObject } from './policy-context.ts';

export class PolicyObjects {
  readonly #map: PersistentMap<string, PolicyObject>;

  private constructor(map: PersistentMap<string, PolicyObject>) {
    this.#map = map;
  }

  static from(record: Readonly<Record<string, PolicyObject>>): PolicyObjects {
    const empty = PersistentMap.empty<string, PolicyObject>();
    return new PolicyObjects(Object.entries(record).reduce((map, [key, value]) => map.set(key, value), empty));
  }

  get(key: string): PolicyObject | undefined {
    return this.#map.get(key);
  }

  /** `undefined` takes it out. */
  with(key: string, object: PolicyObject | undefined): PolicyObjects {
    return new PolicyObjects(object ? this.#map.set(key, object) : this.#map.delete(key));
  }

  keys(): string[] {
    return this.#map.keys();
  }

  values(): PolicyObject[] {
    return this.#map.values();
  }

  toJSON(): Record<string, PolicyObject> {
    return Object.fromEntries([...this.#map.entries()].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}
