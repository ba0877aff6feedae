/** The persistent map against Map, and its old versions against themselves. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Edit, type Key, PersistentMap } from './persistent-map.ts';

/** Few keys, so that they meet; 'Aa'-like pairs collide in many hashes, and numbers equal in their low bits share branches. */
const key: fc.Arbitrary<Key> = fc.oneof(
  fc.nat(40),
  fc.nat(5).map((n) => n * 2 ** 30),
  fc.nat(5).map((n) => n * 2 ** 32 + 7),
  fc.string({ maxLength: 2 }),
);
const op = fc.record({ key, value: fc.option(fc.nat(5)), edit: fc.nat(2) });

const content = (map: PersistentMap<Key, number>) => new Map(map.entries());

test('behaves as Map, and no version changes when a later one is made', () => {
  fc.assert(
    fc.property(fc.array(op, { maxLength: 80 }), (ops) => {
      const model = new Map<Key, number>();
      let map = PersistentMap.empty<Key, number>();
      let edit: Edit | undefined;
      const versions: [PersistentMap<Key, number>, Map<Key, number>][] = [];
      for (const { key, value, edit: which } of ops) {
        if (which !== 1) {
          versions.push([map, new Map(model)]);
          edit = which === 0 ? undefined : new Edit();
        }
        if (value === null) {
          model.delete(key);
          map = map.delete(key, edit);
        } else {
          model.set(key, value);
          map = map.set(key, value, edit);
        }
        expect(map.size).toBe(model.size);
        expect(map.get(key)).toBe(model.get(key));
      }
      versions.push([map, model]);
      for (const [version, expected] of versions) {
        expect(content(version)).toEqual(expected);
        expect(new Set(version.keys())).toEqual(new Set(expected.keys()));
      }
    }),
  );
});

test('history leaves no trace in the order', () => {
  const forward = [...Array(100).keys()].reduce((map, n) => map.set(`k${n}`, n), PersistentMap.empty<string, number>());
  let backward = PersistentMap.empty<string, number>();
  for (let n = 200; n-- > 0; ) backward = backward.set(`k${n}`, n);
  for (let n = 100; n < 200; n++) backward = backward.delete(`k${n}`);
  expect(backward.keys()).toEqual(forward.keys());
});

test('an unchanged entry is no new map', () => {
  const map = PersistentMap.empty<string, number>().set('a', 1);
  expect(map.set('a', 1)).toBe(map);
  expect(map.delete('b')).toBe(map);
});
