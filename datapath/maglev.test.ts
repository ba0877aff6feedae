/** Maglev tables: the known hash, even shares, little that moves, and the same table everywhere. */
import { describe, expect, test } from 'vitest';
import { maglevSizes, maglevTable } from './maglev.ts';
import { murmur3 } from './murmur3.ts';

const backends = (count: number, subnet = 1): string[] =>
  Array.from({ length: count }, (_, i) => `10.${subnet}.${i >> 8}.${i & 255}:8080/TCP`);

function shares(table: Uint32Array, count: number): number[] {
  const counted = new Array<number>(count).fill(0);
  for (const index of table) counted[index] = (counted[index] ?? 0) + 1;
  return counted;
}

/** A shuffle that is the same for a seed. */
function shuffled<T>(items: readonly T[], seed: number): T[] {
  return items
    .map((item, i) => [murmur3(Buffer.from(`${i}`), seed)[0], item] as const)
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item);
}

describe('murmur3', () => {
  const bytesOf = (words: readonly number[]): Buffer => {
    const bytes = Buffer.alloc(16);
    words.forEach((word, i) => bytes.writeUInt32LE(word, 4 * i));
    return bytes;
  };

  // As SMHasher verifies implementations: of all lengths up to 255, and the number that it has for MurmurHash3_x86_128.
  test('is that of the reference implementation', () => {
    const keys = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const hashes = Array.from({ length: 256 }, (_, i) => bytesOf(murmur3(keys.subarray(0, i), 256 - i)));
    expect(murmur3(Buffer.concat(hashes), 0)[0]).toBe(0xb3ece62a);
  });
});

describe('maglev', () => {
  test.each(maglevSizes)('every backend has its even share of %d slots', (size) => {
    for (const count of [1, 2, 3, 7, Math.max(1, Math.floor(size / 100))]) {
      const counted = shares(maglevTable(backends(count), size), count);
      expect(counted.reduce((sum, share) => sum + share, 0)).toBe(size);
      // Turns are taken: shares differ by one.
      expect(Math.max(...counted) - Math.min(...counted)).toBeLessThanOrEqual(1);
    }
  });

  test.each([1, 2, 3, 4, 5])(
    'one of 100 backends gone moves at most a fiftieth of the others’ slots (subnet %d)',
    (subnet) => {
      const names = backends(100, subnet);
      const before = maglevTable(names, 16_381);
      for (const gone of [0, 17, 50, 99]) {
        const rest = names.filter((_, i) => i !== gone);
        const after = maglevTable(rest, 16_381);
        let kept = 0;
        let moved = 0;
        for (const [slot, index] of before.entries()) {
          if (index === gone) continue;
          if (rest[after[slot] as number] === names[index]) kept++;
          else moved++;
        }
        expect(moved / (moved + kept)).toBeLessThanOrEqual(0.02);
      }
    },
  );

  test('one more backend takes its share from all, and little else moves', () => {
    const names = backends(100);
    const before = maglevTable(names.slice(0, 99), 16_381);
    const after = maglevTable(names, 16_381);
    const moved = before.filter((index, slot) => after[slot] !== index && after[slot] !== 99).length;
    expect(moved / 16_381).toBeLessThanOrEqual(0.02);
  });

  test('the order in which a node knows its backends makes no difference', () => {
    const names = backends(20);
    const table = [...maglevTable(names, 1021)].map((i) => names[i]);
    for (let seed = 1; seed <= 20; seed++) {
      const others = shuffled(names, seed);
      expect([...maglevTable(others, 1021)].map((i) => others[i])).toEqual(table);
    }
  });

  test('the table is what it was in the last version', () => {
    expect([...maglevTable(backends(4), 251).subarray(0, 16)].join(' ')).toMatchInlineSnapshot(
      `"2 0 0 2 3 0 2 3 0 1 3 3 0 2 1 0"`,
    );
  });

  test('no backends, no table; other sizes are refused', () => {
    expect(maglevTable([], 251)).toHaveLength(0);
    expect(() => maglevTable(backends(1), 256)).toThrow('256 is no size of a Maglev table');
  });
});
