/** What the numbers of sets and frontends stand for: map `service_names`, which outlives the agent with the maps that bear them. */
import type { Op } from '../driver.ts';
import type { Entry } from './map-entries.ts';
import { NumberedMap, pooled, type ServiceMaps } from './service-table.ts';

/** enum service_name_kind of bpf/lib/structs-services.h. */
export const nameKinds = { set: 1, frontend: 2 } as const;
type NameKind = (typeof nameKinds)[keyof typeof nameKinds];

interface Key {
  kind: number;
  id: number;
}

export class ServiceNames {
  readonly map: NumberedMap<Key, { text: Uint8Array }>;
  readonly #bytes: number;

  constructor(maps: ServiceMaps) {
    this.map = new NumberedMap(maps, 'service_names');
    this.#bytes = this.map.map.info.valueBytes;
  }

  /** Throws a TypeError when the text is longer than any that Kubernetes would take. */
  entry(at: number, op: Op, kind: NameKind, id: number, text: string): Entry {
    const value = pooled(this.#bytes);
    if (Buffer.byteLength(text) > this.#bytes) throw new TypeError(`names have ${this.#bytes} bytes at most`);
    value.write(text);
    return { at, op, key: this.map.keyOf({ kind, id }), value };
  }

  keyOf(kind: NameKind, id: number): Buffer {
    return this.map.keyOf({ kind, id });
  }

  *read(kind: NameKind): Generator<void, Map<number, string>> {
    const names = new Map<number, string>();
    yield* this.map.each((key, { text }) => {
      if (key.kind !== kind) return;
      const end = Buffer.from(text).findLastIndex((byte) => byte !== 0) + 1;
      names.set(key.id, Buffer.from(text).toString('utf8', 0, end));
    });
    return names;
  }
}
