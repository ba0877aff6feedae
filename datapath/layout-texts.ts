/**
 * The layouts of pinned maps, in a map pinned beside them: maps tell sizes only, and those of maps of maps not even that.
 *
 * - Pins of builds that had no such map are read by the types that the kernel keeps with each map.
 */
import { join } from 'node:path';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import {
  type BpfMap,
  type Btf,
  type BtfMap,
  type BtfRef,
  btfOfMap,
  createMap,
  isErrno,
  type MapType,
  openPinnedMap,
} from '../native/index.ts';
import { type Layout, layoutOf, layoutOfStruct } from './layout.ts';

/** Of the keys and values of a map, or of the maps in a map of maps. */
export interface MapLayout {
  readonly key: Layout;
  readonly value: Layout;
}

export const LAYOUT_TEXTS = 'layout_texts';
const NAME_BYTES = 32;
const TEXT_BYTES = 2048;
const LENGTH_BYTES = 4;
const TEXTS_MAX = 256;
/** Whose types stand for those of maps of maps. */
const WITNESS = 'endpoints';

const NUMBER: Layout = { size: 4, fields: [{ path: '', offset: 0, size: 4, count: 1, order: 'host' }] };

/** Structs of the maps in maps of maps; C leaves them out of the types. */
const inner: Readonly<Record<string, { key?: string; value: string }>> = {
  policy: { key: 'policy_key', value: 'policy_entry' },
  maglev: { value: 'maglev_line' },
};

function innerLayout(btf: Pick<Btf, 'types'>, name: string): MapLayout | undefined {
  const structs = inner[name];
  if (!structs) return undefined;
  const key = structs.key ? layoutOfStruct(btf, structs.key) : NUMBER;
  const value = layoutOfStruct(btf, structs.value);
  return key && value && { key, value };
}

const isTyped = ({ type }: BtfRef): boolean => type !== 0;

/** Events that were not read yet, and counters of each processor: nobody's rows and nobody's connections, which begin anew. */
export const isAnew = (type: MapType): boolean => type === 'percpu_array' || type === 'ringbuf';

/** As an object wants it; undefined where nothing is kept. */
export function wantedLayout(btf: Btf, { name, type, key, value }: BtfMap): MapLayout | undefined {
  if (isAnew(type)) return undefined;
  return (
    innerLayout(btf, name) ??
    (isTyped(key) && isTyped(value) ? { key: layoutOf(btf, key), value: layoutOf(btf, value) } : undefined)
  );
}

export class LayoutTexts {
  readonly #folder: string;
  #map: BpfMap | undefined;

  constructor(folder: string) {
    this.#folder = folder;
    try {
      this.#map = openPinnedMap(join(folder, LAYOUT_TEXTS));
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
    }
  }

  get(name: string): MapLayout | undefined {
    const value = this.#map?.get(nameBytes(name));
    if (!value) return undefined;
    const length = value.readUInt32LE(0);
    const text = inflateRawSync(value.subarray(LENGTH_BYTES, LENGTH_BYTES + length)).toString('utf8');
    return JSON.parse(text) as MapLayout;
  }

  put(name: string, layout: MapLayout): void {
    const text = deflateRawSync(JSON.stringify(layout));
    if (text.length > TEXT_BYTES - LENGTH_BYTES)
      throw new RangeError(`the layout of map ${name} has ${text.length} bytes`);
    const value = Buffer.alloc(TEXT_BYTES);
    value.writeUInt32LE(text.length);
    text.copy(value, LENGTH_BYTES);
    this.#made().put(nameBytes(name), value);
  }

  delete(name: string): void {
    this.#map?.delete(nameBytes(name));
  }

  #made(): BpfMap {
    if (!this.#map) {
      const options = { keySize: NAME_BYTES, valueSize: TEXT_BYTES, maxEntries: TEXTS_MAX, flags: 1 };
      this.#map = createMap({ type: 'hash', name: LAYOUT_TEXTS, ...options });
      this.#map.pin(join(this.#folder, LAYOUT_TEXTS));
    }
    return this.#map;
  }

  /** Of a pinned map, as it is; undefined when nothing tells. */
  of(name: string, map: BpfMap): MapLayout | undefined {
    const known = this.get(name);
    if (known) return known;
    try {
      return inner[name] ? this.#byWitness(name) : layoutInKernel(map);
    } catch (error) {
      if (error instanceof TypeError) return undefined; // types without a layout
      throw error;
    }
  }

  #byWitness(name: string): MapLayout | undefined {
    let witness: BpfMap;
    try {
      witness = openPinnedMap(join(this.#folder, WITNESS));
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
    try {
      const types = btfOfMap(witness);
      return types && innerLayout(types, name);
    } finally {
      witness.close();
    }
  }

  close(): void {
    this.#map?.close();
  }
}

function layoutInKernel(map: BpfMap): MapLayout | undefined {
  const types = btfOfMap(map);
  return types && { key: layoutOf(types, types.key), value: layoutOf(types, types.value) };
}

function nameBytes(name: string): Buffer {
  const bytes = Buffer.alloc(NAME_BYTES);
  bytes.write(name);
  return bytes;
}
