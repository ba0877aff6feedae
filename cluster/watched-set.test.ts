/** What a watcher says of lists and events, without a server. */
import { describe, expect, test } from 'vitest';
import type { KubeObject } from './events.ts';
import { jsonLines } from './json-lines.ts';
import { type WatchEvent, WatchedSet } from './watched-set.ts';

const object = (name: string, revision: number, uid = name): KubeObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, uid, resourceVersion: String(revision) },
});
const said = (events: readonly WatchEvent[]): string[] =>
  events.map((event) =>
    event.type === 'synced'
      ? 'synced'
      : `${event.type} ${event.object.metadata.uid}@${event.object.metadata.resourceVersion}`,
  );

describe('a watched set', () => {
  test('ignores what it has heard: repetitions, and events from before its revision', () => {
    const set = new WatchedSet();
    expect(said(set.listed([object('a', 3)], '5'))).toEqual(['upsert a@3', 'synced']);
    expect(said(set.heard('ADDED', object('a', 3)))).toEqual([]);
    expect(said(set.heard('MODIFIED', object('a', 6)))).toEqual(['upsert a@6']);
    expect(said(set.heard('MODIFIED', object('a', 6)))).toEqual([]);
    expect(said(set.heard('DELETED', object('a', 7)))).toEqual(['delete a@7']);
    expect(said(set.heard('MODIFIED', object('a', 6)))).toEqual([]);
    expect(said(set.heard('DELETED', object('a', 8)))).toEqual([]);
  });

  test('bookmarks move the revision and never back', () => {
    const set = new WatchedSet();
    set.listed([], '5');
    for (const revision of [9, 9, 7])
      set.heard('BOOKMARK', { ...object('', revision), metadata: { name: '', resourceVersion: String(revision) } });
    expect(set.revision).toBe('9');
  });

  test('compares revisions as numbers, of any size', () => {
    const set = new WatchedSet();
    set.listed([], '9007199254740993');
    expect(
      said(
        set.heard('ADDED', {
          ...object('a', 0),
          metadata: { name: 'a', uid: 'a', resourceVersion: '9007199254740994' },
        }),
      ),
    ).toHaveLength(1);
    expect(said(set.heard('ADDED', object('b', 10)))).toEqual([]);
  });

  test('a list after another says only differences, what is gone last, and may go back to a restored server’s revision', () => {
    const set = new WatchedSet();
    set.listed([object('a', 1), object('b', 2), object('c', 3)], '100');
    expect(said(set.listed([object('a', 1), object('b', 50), object('d', 51)], '60'))).toEqual([
      'upsert b@50',
      'upsert d@51',
      'delete c@3',
    ]);
    expect(set.revision).toBe('60');
  });
});

describe('JSON lines', () => {
  async function read(...chunks: Uint8Array[]): Promise<unknown[]> {
    const values: unknown[] = [];
    for await (const value of jsonLines(
      (async function* () {
        yield* chunks;
      })(),
      () => undefined,
    ))
      values.push(value);
    return values;
  }

  test('are found wherever the bytes are cut, in the middle of a character too', async () => {
    const bytes = Buffer.from('{"a":"ü€😀"}\n\n[1]\n"rest is cut');
    for (let size = 1; size <= bytes.length; size++) {
      const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
        bytes.subarray(i * size, (i + 1) * size),
      );
      expect(await read(...chunks)).toEqual([{ a: 'ü€😀' }, [1]]);
    }
  });

  test('that are not JSON are an error, not a gap', async () => {
    await expect(read(Buffer.from('{"a":1}\n{"b":\n{"c":2}\n'))).rejects.toThrow('is not JSON: {"b":');
  });
});
