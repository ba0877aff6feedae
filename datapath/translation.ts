/**
 * Bytes of one layout as those of another, field by field by their names.
 *
 * - What is new is zero, what is gone is dropped. Of an integer that has become narrower the low bytes stay: times that are kept modulo
 *   its size go on, and so does whatever fits.
 */
import type { Layout, LayoutField } from './layout.ts';

export interface Translation {
  readonly from: Layout;
  readonly to: Layout;
  /** `into` is overwritten, padding too. */
  write(from: Buffer, at: number, into: Buffer, intoAt: number): void;
}

interface Copy {
  from: number;
  to: number;
  bytes: number;
}

export function translation(from: Layout, to: Layout): Translation {
  const known = new Map(from.fields.map((field) => [field.path, field]));
  const copies = joined(
    to.fields.flatMap((field) => {
      const source = known.get(field.path);
      return source ? copiesOf(source, field) : [];
    }),
  );
  const reversals = to.fields.flatMap((field) => {
    const source = known.get(field.path);
    return source && source.order !== field.order && field.size > 1 ? [field] : [];
  });
  return {
    from,
    to,
    write(source, at, into, intoAt) {
      into.fill(0, intoAt, intoAt + to.size);
      for (const { from: offset, to: target, bytes } of copies)
        source.copy(into, intoAt + target, at + offset, at + offset + bytes);
      for (const { offset, size, count } of reversals) {
        for (let i = 0; i < count; i++) {
          const start = intoAt + offset + i * size;
          into.subarray(start, start + size).reverse();
        }
      }
    },
  };
}

/** Low bytes to low bytes, element by element. Of another byte order: as in the source, to be turned. */
function copiesOf(from: LayoutField, to: LayoutField): Copy[] {
  const count = Math.min(from.count, to.count);
  const bytes = Math.min(from.size, to.size);
  if (from.size === to.size) return [{ from: from.offset, to: to.offset, bytes: bytes * count }];
  return Array.from({ length: count }, (_, i) => {
    // In network order the low bytes are the last. What is turned afterwards lies in the target as its source has it.
    const skipFrom = from.order === 'network' ? from.size - bytes : 0;
    const skipTo = from.order === 'network' ? to.size - bytes : 0;
    return { from: from.offset + i * from.size + skipFrom, to: to.offset + i * to.size + skipTo, bytes };
  });
}

/** Neighbours in both layouts are one copy. */
function joined(copies: readonly Copy[]): Copy[] {
  const result: Copy[] = [];
  for (const copy of [...copies].sort((a, b) => a.to - b.to)) {
    const last = result.at(-1);
    if (last && last.from + last.bytes === copy.from && last.to + last.bytes === copy.to) last.bytes += copy.bytes;
    else result.push({ ...copy });
  }
  return result;
}
