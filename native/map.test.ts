// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import {
  type BpfMap,
  createMap,
  isErrno,
  type MapType,
  mapFlags,
  openMapById,
  possibleCpus,
  putFlags,
} from './index.ts';
import { u32 } from './testdata/setup.ts';

function withMap(
  type: MapType,
  action: (map: BpfMap) => void,
  options: { maxEntries?: number; keySize?: number; valueSize?: number } = {},
): void {
  const flags = type === 'lpm_trie' ? mapFlags.noPrealloc : 0;
  const map = createMap({ type, name: 'axt', keySize: 4, valueSize: 8, maxEntries: 100, flags, ...options });
  try {
    action(map);
  } finally {
    map.close();
  }
}

const value = (number: number) => Buffer.concat([u32(number), u32(0)]);
const code = (action: () => unknown) => {
  try {
    action();
  } catch (error) {
    return error instanceof Error && 'code' in error ? error.code : error;
  }
  return undefined;
};

test.each(['hash', 'lru_hash'] as const)('%s: put, get, list and delete', (type) => {
  withMap(type, (map) => {
    expect(map.get(u32(1))).toBeUndefined();
    map.put(u32(1), value(10));
    map.put(u32(2), value(20));
    expect(map.get(u32(1))).toEqual(value(10));
    expect(new Map(map.entries().map(([k, v]) => [k.readUInt32LE(), v.readUInt32LE()]))).toEqual(
      new Map([
        [1, 10],
        [2, 20],
      ]),
    );
    expect(map.keys()).toHaveLength(2);
    expect(map.delete(u32(1))).toBe(true);
    expect(map.delete(u32(1))).toBe(false);
    expect(code(() => map.put(u32(2), value(1), putFlags.noExist))).toBe('EEXIST');
    expect(code(() => map.put(u32(9), value(1), putFlags.exist))).toBe('ENOENT');
  });
});

test('array: every index exists from the start', () => {
  withMap('array', (map) => {
    map.put(u32(3), value(30));
    const entries = map.entries();
    expect(entries).toHaveLength(100);
    expect(entries[3]).toEqual([u32(3), value(30)]);
    expect(code(() => map.put(u32(100), value(1)))).toBe('E2BIG');
  });
});

test.each(['percpu_hash', 'percpu_array', 'lru_percpu_hash'] as const)('%s: one value for each CPU', (type) => {
  withMap(type, (map) => {
    const values = Buffer.concat(Array.from({ length: possibleCpus() }, (_, cpu) => value(cpu + 1)));
    expect(map.info.valueBytes).toBe(8 * possibleCpus());
    map.put(u32(1), values);
    expect(map.get(u32(1))).toEqual(values);
    expect(map.entries().find(([key]) => key.readUInt32LE() === 1)?.[1]).toEqual(values);
  });
});

test('per-CPU values are 8-byte aligned whatever their size', () => {
  withMap('percpu_array', (map) => expect(map.info.valueBytes).toBe(16 * possibleCpus()), { valueSize: 12 });
});

test('lpm_trie: the longest prefix answers, all prefixes are listed once', () => {
  withMap(
    'lpm_trie',
    (map) => {
      const key = (length: number, address: string) =>
        Buffer.concat([u32(length), Buffer.from(address.split('.').map(Number))]);
      map.put(key(8, '10.0.0.0'), value(8));
      map.put(key(24, '10.1.2.0'), value(24));
      map.put(key(32, '10.1.2.3'), value(32));
      expect(map.get(key(32, '10.1.2.3'))).toEqual(value(32));
      expect(map.get(key(32, '10.1.2.4'))).toEqual(value(24));
      expect(map.get(key(32, '10.9.9.9'))).toEqual(value(8));
      expect(map.get(key(32, '11.0.0.1'))).toBeUndefined();
      expect(
        map
          .keys()
          .map((k) => k.readUInt32LE())
          .sort((a, b) => a - b),
      ).toEqual([8, 24, 32]);
    },
    { keySize: 8 },
  );
});

test('map-in-map: inner maps go in by handle and come out by id', () => {
  const template = createMap({ type: 'hash', name: 'inner', keySize: 4, valueSize: 4, maxEntries: 8 });
  const outer = createMap({
    type: 'hash_of_maps',
    name: 'outer',
    keySize: 4,
    valueSize: 4,
    maxEntries: 8,
    innerMapFd: template.fd,
  });
  const other = createMap({ type: 'hash', name: 'other', keySize: 8, valueSize: 4, maxEntries: 8 });
  try {
    outer.put(u32(7), template);
    template.put(u32(1), u32(11));
    const inner = outer.getInner(u32(7));
    expect(inner?.get(u32(1))).toEqual(u32(11));
    inner?.close();
    expect(outer.getInner(u32(8))).toBeUndefined();
    expect(outer.entries()).toEqual([[u32(7), u32(template.info.id)]]);
    expect(code(() => outer.put(u32(1), other))).toBe('EINVAL');
    expect(outer.delete(u32(7))).toBe(true);
    const again = openMapById(template.info.id);
    expect(again.info.name).toBe('inner');
    again.close();
  } finally {
    for (const map of [template, outer, other]) map.close();
  }
});

test.each(['hash', 'lpm_trie', 'lru_hash', 'percpu_hash', 'array'] as const)(
  '%s: ten thousand entries in batches',
  (type) => {
    const count = 10_000;
    withMap(
      type,
      (map) => {
        const keys = Buffer.alloc(count * map.info.keySize);
        const values = Buffer.alloc(count * map.info.valueBytes);
        for (let i = 0; i < count; i++) {
          if (type === 'lpm_trie') {
            keys.writeUInt32LE(32, i * 8);
            keys.writeUInt32BE(i, i * 8 + 4);
          } else keys.writeUInt32LE(i, i * 4);
          values.writeUInt32LE(i, i * map.info.valueBytes);
        }
        map.putBatch(keys, values, count);
        const { count: listed, values: read } = map.scan();
        if (type === 'lru_hash')
          expect(listed).toBeGreaterThan(count / 2); // may evict early: its free lists are per CPU
        else expect(listed).toBe(count);
        const numbers = new Set(Array.from({ length: listed }, (_, i) => read.readUInt32LE(i * map.info.valueBytes)));
        expect(numbers.size).toBe(listed);
        if (type === 'array') return;
        expect(map.deleteBatch(keys, count)).toBe(listed);
        expect(map.deleteBatch(keys, count)).toBe(0);
        expect(map.entries()).toEqual([]);
      },
      { maxEntries: 10_000, ...(type === 'lpm_trie' ? { keySize: 8 } : {}) },
    );
  },
);

test.each(['lpm_trie', 'hash'] as const)(
  '%s: a listing ends and names no key twice while another thread rewrites the map',
  async (type) => {
    const flags = mapFlags.noPrealloc;
    const map = createMap({ type, name: 'axt', keySize: 8, valueSize: 8, maxEntries: 4000, flags });
    const worker = new Worker(new URL('./testdata/rewrite-map.ts', import.meta.url), { workerData: map.info.id });
    try {
      await once(worker, 'message');
      for (let round = 0; round < 50; round++) {
        const keys = map.keys().map((key) => key.toString('hex'));
        expect(new Set(keys).size).toBe(keys.length);
      }
    } finally {
      await worker.terminate();
      map.close();
    }
  },
);

test('deleteBatch steps over absent keys', () => {
  withMap('hash', (map) => {
    for (const key of [1, 3, 5]) map.put(u32(key), value(key));
    expect(map.deleteBatch(Buffer.concat([0, 1, 2, 3, 4, 5, 6].map(u32)), 7)).toBe(3);
    expect(map.entries()).toEqual([]);
  });
});

test('a full map says E2BIG and names itself', () => {
  withMap(
    'hash',
    (map) => {
      map.put(u32(1), value(1));
      try {
        map.put(u32(2), value(2));
        expect.unreachable();
      } catch (error) {
        expect(isErrno(error, 'E2BIG')).toBe(true);
        expect(error).toMatchObject({
          syscall: 'bpf(BPF_MAP_UPDATE_ELEM)',
          errno: 7,
          object: 'map axt',
          retryable: false,
        });
      }
    },
    { maxEntries: 1 },
  );
});

test('keys and values of another size never reach the kernel', () => {
  withMap('hash', (map) => {
    expect(code(() => map.get(Buffer.alloc(3)))).toBe('EINVAL');
    expect(code(() => map.put(u32(1), Buffer.alloc(9)))).toBe('EINVAL');
    expect(code(() => map.putBatch(u32(1), value(1), 2))).toBe('EINVAL');
    expect(() => map.get('text' as never)).toThrow();
  });
});

test('a frozen map refuses writes', () => {
  withMap('array', (map) => {
    map.freeze();
    expect(code(() => map.put(u32(1), value(1)))).toBe('EPERM');
    expect(map.get(u32(1))).toEqual(value(0));
  });
});

test('an unknown map type is refused', () => {
  expect(code(() => withMap('unknown', () => {}))).toBe('EINVAL');
});
