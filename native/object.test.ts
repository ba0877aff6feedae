// SPDX-License-Identifier: Apache-2.0
import { afterEach, expect, test } from 'vitest';
import { createMap, isErrno, NativeError, openObject, openPinnedLink, openPinnedMap } from './index.ts';
import { pinRoot, probeObject, refusedObject, removePins, sumCounters, u32 } from './testdata/setup.ts';

afterEach(removePins);

const pinPath = `${pinRoot}/maps/endpoints`;

function errorOf(action: () => unknown): NativeError {
  try {
    action();
  } catch (error) {
    if (error instanceof NativeError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

test('an object lists its maps and programs before and after loading', () => {
  const object = openObject(probeObject);
  expect(object.maps()).toContain('ipcache');
  expect(object.programs()).toContainEqual({ name: 'count_two', section: 'tcx/ingress' });
  expect(errorOf(() => object.map('endpoints')).code).toBe('EBADF');
  object.load();
  expect(object.map('ipcache').info).toMatchObject({
    type: 'lpm_trie',
    keySize: 20,
    valueSize: 24,
    maxEntries: 1024,
    flags: 1,
  });
  expect(object.program('count_two').info).toMatchObject({ type: 'sched_cls', name: 'count_two' });
  expect(errorOf(() => object.map('absent')).code).toBe('ENOENT');
  object.close();
  expect(errorOf(() => object.maps()).code).toBe('EBADF');
});

test('read-only data set by variable name is what the program sees', () => {
  const object = openObject(probeObject, { rodata: { config: Buffer.concat([u32(99), u32(2)]) } });
  object.load();
  expect(object.map('.rodata').get(u32(0))).toEqual(Buffer.concat([u32(99), u32(2)]));
  expect(object.program('count_one').testRun({ data: Buffer.alloc(64) }).retval).toBe(2);
  expect(errorOf(() => object.setRodata('config', u32(1))).code).toBe('EBUSY');
  object.close();
});

test('unknown variables and too many bytes are refused by name', () => {
  const object = openObject(probeObject);
  expect(errorOf(() => object.setRodata('absent', u32(1)))).toMatchObject({
    code: 'ENOENT',
    object: 'variable absent',
  });
  expect(errorOf(() => object.setRodata('config', Buffer.alloc(9)))).toMatchObject({ code: 'E2BIG' });
  object.close();
});

test('only the named programs are loaded, and sizes change before loading', () => {
  const object = openObject(probeObject, {
    programs: ['count_one'],
    maps: { endpoints: { maxEntries: 7 }, policy: { innerMaxEntries: 5 } },
  });
  object.load();
  expect(object.map('endpoints').info.maxEntries).toBe(7);
  expect(errorOf(() => object.program('report')).code).toBe('EBADF');
  using(createMap({ type: 'hash', name: 'five', keySize: 4, valueSize: 4, maxEntries: 5 }), (five) =>
    object.map('policy').put(u32(1), five),
  );
  object.close();
});

test('a pinned map is used again and keeps its entries', () => {
  const key = Buffer.alloc(16, 1);
  const first = openObject(probeObject, { maps: { endpoints: { pinPath } } });
  first.load();
  first.map('endpoints').put(key, Buffer.alloc(24, 5));
  const id = first.map('endpoints').info.id;
  first.close();
  const second = openObject(probeObject, { maps: { endpoints: { pinPath } } });
  second.load();
  expect(second.map('endpoints').info.id).toBe(id);
  expect(second.map('endpoints').get(key)).toEqual(Buffer.alloc(24, 5));
  second.close();
  using(openPinnedMap(pinPath), (map) => expect(map.info.id).toBe(id));
  expect(errorOf(() => openPinnedLink(pinPath)).detail).toContain('bpf-map');
});

test('a pinned map of another layout is refused with every difference', () => {
  using(createMap({ type: 'hash', name: 'endpoints', keySize: 16, valueSize: 8, maxEntries: 10 }), (map) =>
    map.pin(pinPath),
  );
  const object = openObject(probeObject, { maps: { endpoints: { pinPath } } });
  const error = errorOf(() => object.load());
  expect(error).toMatchObject({ code: 'EEXIST', object: `map endpoints at ${pinPath}`, retryable: false });
  expect(error.differences).toEqual([
    { property: 'valueSize', pinned: '8', wanted: '24' },
    { property: 'maxEntries', pinned: '10', wanted: '1024' },
  ]);
  object.close();
});

test('a pinned map-in-map whose inner maps differ is refused', () => {
  const path = `${pinRoot}/maps/policy`;
  const inner = createMap({ type: 'hash', name: 'inner', keySize: 8, valueSize: 4, maxEntries: 16 });
  const outer = createMap({
    type: 'hash_of_maps',
    name: 'policy',
    keySize: 4,
    valueSize: 4,
    maxEntries: 64,
    innerMapFd: inner.fd,
  });
  outer.put(u32(1), inner);
  outer.pin(path);
  const object = openObject(probeObject, { maps: { policy: { pinPath: path } } });
  expect(errorOf(() => object.load()).differences).toEqual([
    { property: 'inner', pinned: 'keySize 8', wanted: 'keySize 4' },
  ]);
  for (const handle of [object, inner, outer]) handle.close();
});

test("a refused program's error carries the verifier's words", () => {
  const object = openObject(refusedObject);
  const error = errorOf(() => object.load());
  expect(error).toMatchObject({ syscall: 'bpf_object__load', code: 'EACCES', errno: 13 });
  expect(error.detail).toContain("prog 'unchecked'");
  expect(error.verifierLog).toContain('invalid access to packet');
  object.close();
});

test('the verifier log of a good load is there when asked for', () => {
  const object = openObject(probeObject, { kernelLogLevel: 4 });
  expect(object.load()).toMatch(/processed \d+ insns/);
  object.close();
});

test('a file that is no object is refused', () => {
  expect(
    isErrno(
      errorOf(() => openObject('/nonexistent.o')),
      'ENOENT',
    ),
  ).toBe(true);
  expect(errorOf(() => openObject(import.meta.filename)).syscall).toBe('bpf_object__open_file');
});

test('a clone outlives its object', () => {
  const object = openObject(probeObject);
  object.load();
  const map = object.map('counters').clone();
  object.close();
  expect(sumCounters(map.get(u32(0)))).toBe(0);
  map.close();
  expect(errorOf(() => map.get(u32(0))).code).toBe('EBADF');
});

function using<T extends { close(): void }>(handle: T, action: (handle: T) => void): void {
  try {
    action(handle);
  } finally {
    handle.close();
  }
}
