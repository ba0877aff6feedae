/**
 * What the programs of a simulated node have learnt of connections: the bytes of each entry, in the layout that its map has.
 *
 * - Maps go from release to release by the translation that real maps go by, one after the other: whoever dies in between leaves some in
 *   the old layout and some in the new one, as on a real node.
 */
import type { Layout, LayoutField } from '../../datapath/layout.ts';
import type { MapLayout } from '../../datapath/layout-texts.ts';
import { mapTranslation } from '../../datapath/map-copies.ts';
import type { Release } from '../releases/release.ts';

/** Integers by field, as far as a layout has them; of an array its elements. */
export type Entry = Readonly<Record<string, number | readonly number[]>>;

export const learntMaps = ['conntrack', 'nat', 'service_flows'] as const;
export type LearntMap = (typeof learntMaps)[number];

interface Table {
  layout: MapLayout;
  entries: { key: Buffer; value: Buffer }[];
}

export class Learnt {
  readonly #tables = new Map<LearntMap, Table>();

  /** A node that begins, or has been switched on. */
  constructor(release: Release) {
    this.moveTo(release);
  }

  /** The next release's agent starts; it dies after so many maps. True: all maps are its own. */
  moveTo({ maps }: Release, mapsDone = Number.POSITIVE_INFINITY): boolean {
    let done = 0;
    for (const name of learntMaps) {
      const layout = maps.find((map) => map.name === name)?.layout;
      // A map that a release does not know stays pinned as it is.
      if (!layout) continue;
      if (done++ >= mapsDone) return false;
      const table = this.#tables.get(name);
      this.#tables.set(name, table ? translated(table, layout) : { layout, entries: [] });
    }
    return true;
  }

  add(name: LearntMap, key: Entry, value: Entry): void {
    const table = this.#tables.get(name);
    if (!table) return;
    const { layout, entries } = table;
    entries.push({ key: write(layout.key, key), value: write(layout.value, value) });
  }

  /** Of the entry with this key, the fields that its layout has; undefined: it is not known. */
  get(name: LearntMap, key: Entry): Entry | undefined {
    const table = this.#tables.get(name);
    if (!table) return undefined;
    const bytes = write(table.layout.key, key);
    const found = table.entries.find((entry) => entry.key.equals(bytes));
    return found && read(table.layout.value, found.value);
  }

  knows(name: LearntMap): boolean {
    return this.#tables.has(name);
  }
}

function translated({ layout, entries }: Table, to: MapLayout): Table {
  const { key, value } = mapTranslation(layout, to);
  return {
    layout: to,
    entries: entries.map((entry) => {
      const next = { key: Buffer.alloc(to.key.size), value: Buffer.alloc(to.value.size) };
      key.write(entry.key, 0, next.key, 0);
      value.write(entry.value, 0, next.value, 0);
      return next;
    }),
  };
}

function write({ size, fields }: Layout, values: Entry): Buffer {
  const bytes = Buffer.alloc(size);
  for (const field of fields)
    elements(field).forEach((offset, i) => {
      const given = values[field.path] ?? 0;
      const value = typeof given === 'number' ? given : (given[i] ?? 0);
      if (field.order === 'network') bytes.writeUIntBE(value, offset, field.size);
      else bytes.writeUIntLE(value, offset, field.size);
    });
  return bytes;
}

const read = ({ fields }: Layout, bytes: Buffer): Entry =>
  Object.fromEntries(
    fields.map((field) => {
      const values = elements(field).map((offset) =>
        field.order === 'network' ? bytes.readUIntBE(offset, field.size) : bytes.readUIntLE(offset, field.size),
      );
      return [field.path, field.count === 1 ? (values[0] ?? 0) : values];
    }),
  );

const elements = ({ offset, size, count }: LayoutField): number[] =>
  Array.from({ length: count }, (_, i) => offset + i * size);
