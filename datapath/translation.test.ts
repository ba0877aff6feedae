/** Bytes of one layout as those of another: what both have stays, whatever their order, sizes and byte orders. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Layout, LayoutField } from './layout.ts';
import { translation } from './translation.ts';

const orders = ['host', 'network'] as const;
const shape = fc.record({
  size: fc.constantFrom(1, 2, 4),
  count: fc.integer({ min: 1, max: 3 }),
  order: fc.constantFrom(...orders),
});
/** Fields in any order, with gaps between them. */
const layout = fc
  .uniqueArray(fc.tuple(fc.constantFrom('a', 'b', 'c', 'd', 'e'), shape, fc.nat(3)), { selector: ([path]) => path })
  .map((parts): Layout => {
    let end = 0;
    const fields = parts.map(([path, { size, count, order }, gap]): LayoutField => {
      const offset = end + gap;
      end = offset + size * count;
      return { path, offset, size, count, order };
    });
    return { size: end, fields };
  });

type Values = Record<string, number[]>;
function write({ size, fields }: Layout, values: Values): Buffer {
  const bytes = Buffer.alloc(size);
  for (const field of fields)
    for (let i = 0; i < field.count; i++) {
      const at = field.offset + i * field.size;
      const value = (values[field.path]?.[i] ?? 0) % 256 ** field.size;
      if (field.order === 'network') bytes.writeUIntBE(value, at, field.size);
      else bytes.writeUIntLE(value, at, field.size);
    }
  return bytes;
}
const names = ['a', 'b', 'c', 'd', 'e'];
const number = fc.nat(2 ** 32 - 1);
const values = fc
  .tuple(...names.map(() => fc.array(number, { minLength: 3, maxLength: 3 })))
  .map((lists): Values => Object.fromEntries(names.map((name, i) => [name, lists[i] ?? []])));

it('keeps what both layouts have, makes what is new zero, and writes nothing beside', () => {
  fc.assert(
    fc.property(layout, layout, values, (from, to, given) => {
      const source = write(from, given);
      const into = Buffer.alloc(to.size + 4, 0xee);
      translation(from, to).write(Buffer.concat([Buffer.alloc(3), source]), 3, into, 2);
      // Of a field that one of them has narrower, what fits both.
      const kept: Values = {};
      for (const { path, size, count } of from.fields) {
        const limit = 256 ** size;
        kept[path] = (given[path] ?? []).slice(0, count).map((value) => value % limit);
      }
      expect(into.subarray(2, 2 + to.size)).toEqual(write(to, kept));
      expect([...into.subarray(0, 2), ...into.subarray(2 + to.size)]).toEqual([0xee, 0xee, 0xee, 0xee]);
    }),
  );
});
