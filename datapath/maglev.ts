/**
 * Maglev tables (Eisenbud et al., NSDI 2016): a connection's hash picks a slot, the slot a backend, and the table hardly changes
 * when the backends do.
 *
 * - The same names in any order give the same table: every node builds it, and a connection may come by any of them.
 * - Sizes are primes, and should exceed the number of backends a hundredfold, else shares are uneven.
 */
import { murmur3 } from './murmur3.ts';

export const maglevSizes: readonly number[] = [251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_521, 131_071];

/** The first four of the twelve bytes `JLfvgnHc2kaSUFaI` (base64) that all nodes share; the others seed the hash of packets. */
const SEED = Buffer.from('JLfvgnHc2kaSUFaI', 'base64').readUInt32BE(0);

/** Slot → index into `names`. No names: an empty table. */
export function maglevTable(names: readonly string[], size: number): Uint32Array {
  if (!maglevSizes.includes(size)) throw new TypeError(`${size} is no size of a Maglev table`);
  const order = names.map((_, i) => i).sort((a, b) => compare(names[a] as string, names[b] as string));
  if (order.length === 0) return new Uint32Array(0);
  const next = new Uint32Array(order.length);
  const skip = new Uint32Array(order.length);
  order.forEach((index, i) => {
    const [first, second] = murmur3(Buffer.from(names[index] as string), SEED);
    next[i] = first % size;
    skip[i] = (second % (size - 1)) + 1;
  });
  const table = new Uint32Array(size);
  const taken = new Uint8Array(size);
  for (let filled = 0; ; ) {
    for (let i = 0; i < order.length; i++) {
      let slot = next[i] as number;
      while (taken[slot]) slot = (slot + (skip[i] as number)) % size;
      taken[slot] = 1;
      table[slot] = order[i] as number;
      next[i] = (slot + (skip[i] as number)) % size;
      if (++filled === size) return table;
    }
  }
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
