/** Few is a Map that mostly has one entry. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Few } from './few.ts';

const key = fc.constantFrom('a', 'b', 'c');

it('is a map', () => {
  const change = fc.oneof(fc.record({ set: key, to: fc.nat() }), fc.record({ remove: key }));
  fc.assert(
    fc.property(fc.array(change), (changes) => {
      const few = new Few<number>();
      const map = new Map<string, number>();
      for (const step of changes) {
        if ('set' in step) {
          few.set(step.set, step.to);
          map.set(step.set, step.to);
        } else {
          expect(few.delete(step.remove)).toBe(map.delete(step.remove));
        }
        expect(few.size).toBe(map.size);
        expect(few.keys().sort()).toEqual([...map.keys()].sort());
        for (const name of ['a', 'b', 'c']) {
          expect(few.get(name)).toBe(map.get(name));
          expect(few.has(name)).toBe(map.has(name));
        }
      }
    }),
  );
});
