/** Revisions, history and what survives a reopening. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Change, Storage } from './storage.ts';
import type { ApiObject } from './types.ts';

const object = (name: string, value = '', namespace = 'ns'): ApiObject => ({
  apiVersion: 'v1',
  kind: 'Thing',
  metadata: { name, namespace },
  value,
});
const names = (objects: readonly ApiObject[]): string[] =>
  objects.map(({ metadata, value }) => `${metadata.name}=${String(value)}`);

let directory: string;
let storage: Storage;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-storage-`));
  storage = new Storage(join(directory, 'db'), 10);
});

afterEach(() => {
  storage.close();
  rmSync(directory, { recursive: true, force: true });
});

test('each write is one revision, which the object carries', () => {
  const start = storage.revision;
  expect(storage.put('things', object('a')).metadata.resourceVersion).toBe(String(start + 1));
  expect(storage.put('things', object('a', '2')).metadata.resourceVersion).toBe(String(start + 2));
  expect(storage.delete('things', 'ns', 'a')?.metadata.resourceVersion).toBe(String(start + 3));
  expect(storage.delete('things', 'ns', 'a')).toBeUndefined();
  expect(storage.revision).toBe(start + 3);
});

test('lists are ordered by namespace and name, of one namespace or all', () => {
  for (const [name, namespace] of [
    ['b', 'x'],
    ['a', 'y'],
    ['a', 'x'],
  ] as const)
    storage.put('things', object(name, '', namespace));
  expect(storage.list('things').map(({ metadata }) => `${metadata.namespace}/${metadata.name}`)).toEqual([
    'x/a',
    'x/b',
    'y/a',
  ]);
  expect(names(storage.list('things', 'y'))).toEqual(['a=']);
});

test('what is stored cannot be changed from outside', () => {
  const stored = storage.put('things', object('a'));
  expect(() => Object.assign(stored.metadata, { name: 'b' })).toThrow(TypeError);
});

test('subscribers hear each change once, with what was before it', () => {
  const heard: string[] = [];
  const stop = storage.subscribe('things', (change) =>
    heard.push(`${change.type} ${String(change.previous?.value)} ${String(change.object.value)}`),
  );
  storage.put('things', object('a', '1'));
  storage.put('others', object('a', '1'));
  storage.put('things', object('a', '2'));
  storage.delete('things', 'ns', 'a');
  stop();
  storage.put('things', object('b', '1'));
  expect(heard).toEqual(['ADDED undefined 1', 'MODIFIED 1 2', 'DELETED 2 2']);
});

describe('history', () => {
  test('replays what came after a revision', () => {
    storage.put('things', object('a', '1'));
    const from = storage.revision;
    storage.put('things', object('a', '2'));
    storage.put('others', object('x'));
    storage.delete('things', 'ns', 'a');
    expect(storage.changesSince('things', from)?.map((change) => change.type)).toEqual(['MODIFIED', 'DELETED']);
    expect(storage.changesSince('things', storage.revision)).toEqual([]);
  });

  test('is forgotten after enough changes, and says so', () => {
    const from = storage.revision;
    for (let i = 0; i < 25; i++) storage.put('things', object('a', String(i)));
    expect(storage.changesSince('things', from)).toBeUndefined();
    expect(storage.changesSince('things', storage.compacted)?.length).toBe(storage.revision - storage.compacted);
    expect(storage.revision - storage.compacted).toBeGreaterThanOrEqual(10);
  });

  test('gives back every list there was', () => {
    const act = fc.record({ name: fc.constantFrom('a', 'b', 'c'), remove: fc.boolean() });
    fc.assert(
      fc.property(fc.array(act, { maxLength: 15 }), (acts) => {
        const fresh = new Storage(':memory:', 100);
        const lists = new Map([[fresh.revision, names(fresh.list('things'))]]);
        for (const [i, { name, remove }] of acts.entries()) {
          if (remove) fresh.delete('things', 'ns', name);
          else fresh.put('things', object(name, String(i)));
          lists.set(fresh.revision, names(fresh.list('things')));
        }
        for (const [revision, list] of lists) expect(names(fresh.listAt('things', revision))).toEqual(list);
        fresh.close();
      }),
    );
  });
});

test('objects and the revision survive a reopening; the history does not', () => {
  storage.put('things', object('a', '1'));
  storage.put('things', object('b', '1'));
  storage.delete('things', 'ns', 'a');
  const { revision } = storage;
  storage.close();
  storage = new Storage(join(directory, 'db'), 10);
  expect(names(storage.list('things'))).toEqual(['b=1']);
  expect(storage.revision).toBe(revision);
  expect(storage.changesSince('things', revision)).toEqual([] satisfies Change[]);
  expect(storage.changesSince('things', revision - 1)).toBeUndefined();
});
