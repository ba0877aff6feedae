/** The entries of one map in another: as they are, or in its layout. */
import { type BpfMap, createMap, isErrno, putFlags } from '../native/index.ts';
import type { MapLayout } from './layout-texts.ts';
import { type Translation, translation } from './translation.ts';

const CHUNK = 4096;

export interface MapTranslation {
  readonly key: Translation;
  readonly value: Translation;
}

export const mapTranslation = (from: MapLayout, to: MapLayout): MapTranslation => ({
  key: translation(from.key, to.key),
  value: translation(from.value, to.value),
});

interface Block {
  keys: Buffer;
  values: Buffer;
  count: number;
}

/** In the other layout. Values have as many bytes as their maps say: maps of one processor have no gaps. */
function translated({ keys, values, count }: Block, { key, value }: MapTranslation): Block {
  const into = { keys: Buffer.alloc(count * key.to.size), values: Buffer.alloc(count * value.to.size), count };
  for (let i = 0; i < count; i++) {
    key.write(keys, i * key.from.size, into.keys, i * key.to.size);
    value.write(values, i * value.from.size, into.values, i * value.to.size);
  }
  return into;
}

/** Entries that no longer fit an LRU map push out others. Returns how many there were. */
export function copyEntries(source: BpfMap, target: BpfMap, by?: MapTranslation): number {
  if (source.info.type === 'hash_of_maps') return copyInner(source, target, by);
  const { keySize, valueBytes } = target.info;
  const { keys, values, count } = by ? translated(source.scan(), by) : source.scan();
  for (let at = 0; at < count; at += CHUNK) {
    const end = Math.min(count, at + CHUNK);
    target.putBatch(
      keys.subarray(at * keySize, end * keySize),
      values.subarray(at * valueBytes, end * valueBytes),
      end - at,
    );
  }
  return count;
}

function copyInner(source: BpfMap, target: BpfMap, by: MapTranslation | undefined): number {
  let count = 0;
  for (const key of source.keys()) {
    const inner = source.getInner(key);
    if (!inner) continue;
    try {
      const made = by ? innerIn(inner, by) : inner;
      target.put(key, made);
      if (made !== inner) made.close();
      count++;
    } finally {
      inner.close();
    }
  }
  return count;
}

function innerIn(inner: BpfMap, by: MapTranslation): BpfMap {
  const { type, name, maxEntries, flags } = inner.info;
  const made = createMap({ type, name, keySize: by.key.to.size, valueSize: by.value.to.size, maxEntries, flags });
  try {
    copyEntries(inner, made, by);
    return made;
  } catch (error) {
    made.close();
    throw error;
  }
}

/** Those that `target` does not have; returns how many. */
export function addMissing(source: BpfMap, target: BpfMap, by?: MapTranslation): number {
  const { keySize, valueBytes } = target.info;
  const there = new Set<string>();
  for (const { keys, count } of target.chunks(CHUNK)) {
    for (let i = 0; i < count; i++) there.add(keys.toString('latin1', i * keySize, (i + 1) * keySize));
  }
  let added = 0;
  for (const chunk of source.chunks(CHUNK)) {
    const { keys, values, count } = by ? translated(chunk, by) : chunk;
    for (let i = 0; i < count; i++) {
      if (there.has(keys.toString('latin1', i * keySize, (i + 1) * keySize))) continue;
      const key = keys.subarray(i * keySize, (i + 1) * keySize);
      if (putIfAbsent(target, key, values.subarray(i * valueBytes, (i + 1) * valueBytes))) added++;
    }
  }
  return added;
}

/** A program may have been faster. */
function putIfAbsent(map: BpfMap, key: Buffer, value: Buffer): boolean {
  try {
    map.put(key, value, putFlags.noExist);
    return true;
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false;
    throw error;
  }
}
