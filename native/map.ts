// SPDX-License-Identifier: Apache-2.0
/** BPF maps: create, open, read and write as byte strings. */
import { addon } from './addon.ts';
import { isErrno, NativeError } from './error.ts';
import { Handle } from './handle.ts';

/** Names as bpftool prints them. */
export type MapType =
  | 'hash'
  | 'array'
  | 'prog_array'
  | 'perf_event_array'
  | 'percpu_hash'
  | 'percpu_array'
  | 'stack_trace'
  | 'cgroup_array'
  | 'lru_hash'
  | 'lru_percpu_hash'
  | 'lpm_trie'
  | 'array_of_maps'
  | 'hash_of_maps'
  | 'devmap'
  | 'sockmap'
  | 'cpumap'
  | 'xskmap'
  | 'sockhash'
  | 'cgroup_storage'
  | 'reuseport_sockarray'
  | 'percpu_cgroup_storage'
  | 'queue'
  | 'stack'
  | 'sk_storage'
  | 'devmap_hash'
  | 'struct_ops'
  | 'ringbuf'
  | 'inode_storage'
  | 'task_storage'
  | 'bloom_filter'
  | 'user_ringbuf'
  | 'cgrp_storage'
  | 'unknown';

export interface MapInfo {
  readonly id: number;
  readonly type: MapType;
  /** At most 15 bytes: the kernel cuts longer names. */
  readonly name: string;
  readonly keySize: number;
  /** As declared, per CPU. */
  readonly valueSize: number;
  /** Bytes of a whole value as `get` returns and `put` takes it: per-CPU maps hold one 8-byte aligned value for each possible CPU. */
  readonly valueBytes: number;
  readonly maxEntries: number;
  readonly flags: number;
}

/** Map creation flags of linux/bpf.h. */
export const mapFlags = { noPrealloc: 1, noCommonLru: 2, rdonlyProg: 128, mmapable: 1024, innerMap: 4096 } as const;
/** Update flags of linux/bpf.h. */
export const putFlags = { any: 0, noExist: 1, exist: 2 } as const;

/** EINVAL, EOPNOTSUPP, and the kernel's own ENOTSUPP. */
const noBatch: ReadonlySet<number> = new Set([22, 95, 524]);

export interface CreateMapOptions {
  readonly type: MapType;
  readonly name: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags?: number;
  /** For array_of_maps and hash_of_maps: a map whose layout every inner map has. */
  readonly innerMapFd?: number;
}

export class BpfMap extends Handle {
  readonly info: MapInfo;
  readonly label: string;

  constructor(fd: number) {
    super(fd);
    this.info = addon().mapInfo(fd);
    this.label = `map ${this.info.name || this.info.id}`;
  }

  /** The value, or undefined when the key is absent. Map-in-map values are the inner map's id, see `getInner`. */
  get(key: Uint8Array): Buffer | undefined {
    const value = Buffer.allocUnsafe(this.info.valueBytes);
    return addon().mapLookup(this.fd, this.#key(key), value, this.label) ? value : undefined;
  }

  /** Opens the inner map under a key of a map-in-map; the caller closes it. */
  getInner(key: Uint8Array): BpfMap | undefined {
    const id = this.get(key);
    if (id === undefined) return undefined;
    try {
      return openMapById(id.readUInt32LE(0));
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined; // replaced between the two calls
      throw error;
    }
  }

  /** Writes one entry. A handle as value stores its descriptor: an inner map, or a program into a prog_array. */
  put(key: Uint8Array, value: Uint8Array | Handle, flags: number = putFlags.any): void {
    const bytes = value instanceof Handle ? descriptorBytes(value) : this.#value(value);
    addon().mapUpdate(this.fd, this.#key(key), bytes, flags, this.label);
  }

  /** False when the key was absent already. */
  delete(key: Uint8Array): boolean {
    return addon().mapDelete(this.fd, this.#key(key), this.label);
  }

  /**
   * All entries: in batches where the kernel can, else key by key. Entries added or removed meanwhile may or
   * may not appear, no key appears twice. The buffers are views of one shared block.
   */
  entries(): Array<[Buffer, Buffer]> {
    const { keys, values, count } = this.scan();
    const { keySize, valueBytes } = this.info;
    const result = new Array<[Buffer, Buffer]>(count);
    for (let i = 0; i < count; i++) {
      result[i] = [
        keys.subarray(i * keySize, (i + 1) * keySize),
        values.subarray(i * valueBytes, (i + 1) * valueBytes),
      ];
    }
    return result;
  }

  /** All entries as two flat blocks, for codecs that read in place. */
  scan(): { readonly keys: Buffer; readonly values: Buffer; readonly count: number } {
    return addon().mapScan(this.fd, this.label);
  }

  /**
   * The entries of a hash or longest-prefix-match map in blocks of about `entries`, so that a walk can pause: what is added or
   * removed meanwhile may or may not appear. A trie whose entries are deleted meanwhile may hand some out twice; the walk ends.
   * All in one block where the kernel has no batches (tries before Linux 5.13).
   */
  *chunks(entries: number): Generator<{ readonly keys: Buffer; readonly values: Buffer; readonly count: number }> {
    let cursor: Buffer | undefined;
    let budget = 2 * this.info.maxEntries + entries;
    do {
      const chunk = this.#chunk(cursor, entries);
      cursor = chunk.next;
      budget -= chunk.count;
      if (chunk.count > 0) yield chunk;
    } while (cursor !== undefined && budget > 0);
  }

  #chunk(cursor: Buffer | undefined, entries: number): { keys: Buffer; values: Buffer; count: number; next?: Buffer } {
    try {
      return addon().mapScanChunk(this.fd, cursor, entries, this.label);
    } catch (error) {
      if (cursor === undefined && error instanceof NativeError && noBatch.has(error.errno)) return this.scan();
      throw error;
    }
  }

  keys(): Buffer[] {
    return this.entries().map(([key]) => key);
  }

  /**
   * Writes `count` entries from flat blocks, one system call where the kernel can. On failure the error is
   * thrown and an unknown prefix has been written; writing again is safe.
   */
  putBatch(keys: Uint8Array, values: Uint8Array, count: number, flags: number = putFlags.any): void {
    this.#block(keys, this.info.keySize, count, 'keys');
    this.#block(values, this.info.valueBytes, count, 'values');
    addon().mapUpdateBatch(this.fd, keys, values, count, flags, this.label);
  }

  /** Deletes `count` keys; absent ones are skipped. Returns how many were there. */
  deleteBatch(keys: Uint8Array, count: number): number {
    this.#block(keys, this.info.keySize, count, 'keys');
    return addon().mapDeleteBatch(this.fd, keys, count, this.label);
  }

  /** Makes the map read-only for user space. */
  freeze(): void {
    addon().mapFreeze(this.fd, this.label);
  }

  /** Pins under bpffs; missing folders are made. */
  pin(path: string): void {
    addon().pin(this.fd, path, this.label);
  }

  /** A second handle on the same map, closed separately. */
  clone(): BpfMap {
    return new BpfMap(addon().dupFd(this.fd));
  }

  #key(key: Uint8Array): Uint8Array {
    if (key.length !== this.info.keySize) throw this.#wrongSize('key', key.length, this.info.keySize);
    return key;
  }

  #value(value: Uint8Array): Uint8Array {
    if (value.length !== this.info.valueBytes) throw this.#wrongSize('value', value.length, this.info.valueBytes);
    return value;
  }

  #block(bytes: Uint8Array, size: number, count: number, what: string): void {
    if (bytes.length !== size * count) throw this.#wrongSize(what, bytes.length, size * count);
  }

  #wrongSize(what: string, got: number, wanted: number): NativeError {
    return new NativeError({
      syscall: 'map',
      errno: 22,
      code: 'EINVAL',
      detail: `${what} has ${got} bytes, not ${wanted}`,
      object: this.label,
    });
  }
}

function descriptorBytes(handle: Handle): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32LE(handle.fd);
  return bytes;
}

export function createMap(options: CreateMapOptions): BpfMap {
  return new BpfMap(addon().mapCreate(options));
}

/** Opens a pinned map; ENOENT when there is no pin. */
export function openPinnedMap(path: string): BpfMap {
  return new BpfMap(addon().openPinned(path, 'map'));
}

export function openMapById(id: number): BpfMap {
  return new BpfMap(addon().mapFdById(id));
}

/** CPUs the kernel may ever bring up: the number of values in a per-CPU entry. */
export function possibleCpus(): number {
  return addon().possibleCpus();
}
