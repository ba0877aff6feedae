/**
 * Maps that outlive the agent: compared with what the object wants, and replaced where that loses nothing.
 *
 * - A map of another capacity is replaced by a copy with all its entries.
 * - A map of another layout is replaced by an empty one when it holds what programs learnt (LRU, counters, events),
 *   with a notice; else it is an error: rows of the agent would be missing while programs run.
 * - A replacement is pinned beside the old map and takes its name by rename: there is always one of them. Attached
 *   programs keep the map they were loaded with until they are replaced.
 * - Layouts include field names and places: map `layouts`, pinned beside the others, remembers them.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type BpfMap, type Btf, type BtfMap, createMap, isErrno, openPinnedMap } from '../native/index.ts';
import { namedMaps } from './runtime-config.ts';

const LAYOUTS = 'layouts';
const NEXT = '-next';
const NAME_BYTES = 32;
const HASH_BYTES = 16;
const LAYOUTS_MAX = 128;
const COPY_ENTRIES = 4096;

/** What becomes of one map. `same`: used again or made new. */
export type Fate = 'same' | 'resized' | 'emptied';

export interface MapPlan {
  readonly name: string;
  readonly fate: Fate;
  readonly pinPath: string;
  /** Where the loader pins it: beside the old one while that is to be replaced. */
  readonly loadPath: string;
  readonly notice: string | undefined;
}

/** Of maps that only programs fill the agent misses nothing. */
const isLearnt = ({ name, type }: BtfMap): boolean =>
  type === 'lru_hash' || type === 'percpu_array' || type === 'ringbuf' || name === 'sock_peers';

export class PinnedMaps {
  readonly #folder: string;
  readonly #btf: Btf;

  constructor(folder: string, btf: Btf) {
    this.#folder = folder;
    this.#btf = btf;
  }

  /** Throws when a map of the agent's has another layout. Removes what an earlier replacement left unfinished. */
  plan(capacities: Readonly<Record<string, number>>): MapPlan[] {
    if (existsSync(this.#folder)) {
      for (const pin of readdirSync(this.#folder)) if (pin.endsWith(NEXT)) rmSync(join(this.#folder, pin));
    }
    const layouts = this.#openLayouts();
    try {
      return namedMaps(this.#btf).map((map) => {
        const pinPath = join(this.#folder, map.name);
        const { fate, notice } = this.#fateOf(map, pinPath, capacities[map.name] ?? map.maxEntries, layouts);
        return { name: map.name, fate, pinPath, notice, loadPath: fate === 'same' ? pinPath : `${pinPath}${NEXT}` };
      });
    } finally {
      layouts?.close();
    }
  }

  #fateOf(
    map: BtfMap,
    pinPath: string,
    capacity: number,
    layouts: BpfMap | undefined,
  ): { fate: Fate; notice: string | undefined } {
    const pinned = openIfPinned(pinPath);
    if (!pinned) return { fate: 'same', notice: undefined };
    try {
      const { info } = pinned;
      const differences = (['type', 'keySize', 'valueSize', 'flags'] as const)
        .filter((property) => info[property] !== map[property])
        .map((property) => `${property} is ${info[property]}, wanted ${map[property]}`);
      const remembered = layouts?.get(nameBytes(map.name));
      if (remembered && !remembered.equals(layoutHash(this.#btf, map)))
        differences.push('fields of key or value differ');
      if (differences.length > 0) {
        const text = `map ${map.name} pinned at ${pinPath} has another layout: ${differences.join('; ')}`;
        if (!isLearnt(map)) throw new Error(`${text}. It holds rows of the agent: drain the node and remove the pin`);
        return { fate: 'emptied', notice: `${text}; it starts empty` };
      }
      if (info.maxEntries === capacity) return { fate: 'same', notice: undefined };
      const notice = `map ${map.name} changes its capacity from ${info.maxEntries} to ${capacity}`;
      if (map.type === 'ringbuf') return { fate: 'emptied', notice };
      const entries = isLearnt(map) ? 0 : pinned.scan().count;
      if (entries > capacity) throw new Error(`${notice}, but holds ${entries} entries`);
      return { fate: 'resized', notice };
    } finally {
      pinned.close();
    }
  }

  /** After the object was loaded: copies, renames, and remembers the layouts. */
  finish(plans: readonly MapPlan[]): void {
    for (const { fate, pinPath, loadPath } of plans) {
      if (fate === 'same') continue;
      if (fate === 'resized') copyEntries(pinPath, loadPath);
      renameSync(loadPath, pinPath);
    }
    const layouts = this.#openLayouts() ?? this.#createLayouts();
    try {
      for (const map of namedMaps(this.#btf)) layouts.put(nameBytes(map.name), layoutHash(this.#btf, map));
    } finally {
      layouts.close();
    }
  }

  #openLayouts(): BpfMap | undefined {
    return openIfPinned(join(this.#folder, LAYOUTS));
  }

  #createLayouts(): BpfMap {
    const options = { keySize: NAME_BYTES, valueSize: HASH_BYTES, maxEntries: LAYOUTS_MAX };
    const map = createMap({ type: 'hash', name: LAYOUTS, ...options });
    map.pin(join(this.#folder, LAYOUTS));
    return map;
  }
}

function openIfPinned(path: string): BpfMap | undefined {
  try {
    return openPinnedMap(path);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Entries that no longer fit an LRU map push out others; of the agent's maps all fit. */
function copyEntries(from: string, to: string): void {
  const [source, target] = [openPinnedMap(from), openPinnedMap(to)];
  try {
    if (source.info.type === 'hash_of_maps') copyInner(source, target);
    else copyFlat(source, target);
  } finally {
    source.close();
    target.close();
  }
}

function copyFlat(source: BpfMap, target: BpfMap): void {
  const { keys, values, count } = source.scan();
  const { keySize, valueBytes } = source.info;
  for (let at = 0; at < count; at += COPY_ENTRIES) {
    const end = Math.min(count, at + COPY_ENTRIES);
    target.putBatch(
      keys.subarray(at * keySize, end * keySize),
      values.subarray(at * valueBytes, end * valueBytes),
      end - at,
    );
  }
}

function copyInner(source: BpfMap, target: BpfMap): void {
  for (const key of source.keys()) {
    const inner = source.getInner(key);
    if (!inner) continue;
    target.put(key, inner);
    inner.close();
  }
}

function nameBytes(name: string): Buffer {
  const bytes = Buffer.alloc(NAME_BYTES);
  bytes.write(name);
  return bytes;
}

/** Of the names, types and places of all fields, nested ones too. */
function layoutHash(btf: Btf, map: BtfMap): Buffer {
  const describe = (id: number): unknown => {
    const type = btf.types[id];
    switch (type?.kind) {
      case 'struct':
      case 'union':
        return type.members.map((member) => [member.name, member.bitOffset, member.typeName, describe(member.type)]);
      case 'array':
        return [type.count, describe(type.of.type)];
      case 'int':
      case 'enum':
        return [type.size, type.signed];
      default:
        return type?.kind ?? 'void';
    }
  };
  const inner = map.inner && [describe(map.inner.key.type), describe(map.inner.value.type)];
  const text = JSON.stringify([describe(map.key.type), describe(map.value.type), inner]);
  return createHash('sha256').update(text).digest().subarray(0, HASH_BYTES);
}
