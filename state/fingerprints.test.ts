/** A set of fingerprints against a Set. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Fingerprints } from './fingerprints.ts';

const change = fc.record({ add: fc.boolean(), number: fc.integer({ min: 0, max: 3_000 }) });

it('knows what a Set knows, while it grows and shrinks', () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 4_000, minLength: 3_000, size: 'max' }), (changes) => {
      const prints = new Fingerprints();
      const set = new Set<string>();
      for (let number = 0; number < 2_000; number++) {
        prints.add(`10.0.0.${number}/32`);
        set.add(`10.0.0.${number}/32`);
      }
      for (const { add, number } of changes) {
        const text = `10.0.0.${number}/32`;
        expect(prints.has(text)).toBe(set.has(text));
        if (!add) expect(prints.delete(text)).toBe(set.delete(text));
        else if (!set.has(text)) {
          set.add(text);
          prints.add(text);
        }
      }
      expect(prints.size).toBe(set.size);
      for (const text of set) expect(prints.delete(text)).toBe(true);
      expect(prints.size).toBe(0);
      for (const text of set) expect(prints.has(text)).toBe(false);
    }),
    { numRuns: 5 },
  );
});
