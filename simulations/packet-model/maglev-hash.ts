/**
 * The hash that picks a connection's Maglev slot: MurmurHash3 (x86, 32 bits, seed 0) over the client's address, its port and the
 * frontend's, and the protocol. The same on all nodes; the frontend's address is not in it, since a node port is at many.
 */
import { bitsOf } from './address.ts';
import type { Tuple } from './packet.ts';

const rotateLeft = (x: number, bits: number): number => (x << bits) | (x >>> (32 - bits));

export function murmur3Words(words: readonly number[]): number {
  let hash = 0;
  for (const word of words) {
    hash ^= Math.imul(rotateLeft(Math.imul(word, 0xcc9e2d51), 15), 0x1b873593);
    hash = (Math.imul(rotateLeft(hash, 13), 5) + 0xe6546b64) | 0;
  }
  hash ^= words.length * 4;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

export function clientHash({ from, sport, dport, proto }: Tuple): number {
  const bits = bitsOf(from);
  const address = [96n, 64n, 32n, 0n].map((shift) => Number((bits >> shift) & 0xffffffffn));
  return murmur3Words([...address, ((sport << 16) | dport) >>> 0, proto]);
}
