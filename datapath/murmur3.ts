/** MurmurHash3_x86_128 (Austin Appleby, public domain). */
const C1 = 0x239b961b;
const C2 = 0xab0e9789;
const C3 = 0x38b34ae5;
const C4 = 0xa1e38b93;

const rotate = (word: number, by: number): number => (word << by) | (word >>> (32 - by));
const mixed = (word: number, first: number, by: number, second: number): number =>
  Math.imul(rotate(Math.imul(word, first), by), second);

function finished(word: number): number {
  const a = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  const b = Math.imul(a ^ (a >>> 13), 0xc2b2ae35);
  return b ^ (b >>> 16);
}

/** The four words of the hash, unsigned. */
export function murmur3(bytes: Buffer, seed: number): [number, number, number, number] {
  const blocks = bytes.length >> 4;
  let [h1, h2, h3, h4] = [seed, seed, seed, seed];
  for (let i = 0; i < blocks; i++) {
    h1 ^= mixed(bytes.readInt32LE(16 * i), C1, 15, C2);
    h1 = (Math.imul(rotate(h1, 19) + h2, 5) + 0x561ccd1b) | 0;
    h2 ^= mixed(bytes.readInt32LE(16 * i + 4), C2, 16, C3);
    h2 = (Math.imul(rotate(h2, 17) + h3, 5) + 0x0bcaa747) | 0;
    h3 ^= mixed(bytes.readInt32LE(16 * i + 8), C3, 17, C4);
    h3 = (Math.imul(rotate(h3, 15) + h4, 5) + 0x96cd1c35) | 0;
    h4 ^= mixed(bytes.readInt32LE(16 * i + 12), C4, 18, C1);
    h4 = (Math.imul(rotate(h4, 13) + h1, 5) + 0x32ac3b17) | 0;
  }
  const tail = Buffer.alloc(16);
  bytes.copy(tail, 0, 16 * blocks);
  // A word of zeros mixes to zero, as the reference leaves it out.
  h4 ^= mixed(tail.readInt32LE(12), C4, 18, C1);
  h3 ^= mixed(tail.readInt32LE(8), C3, 17, C4);
  h2 ^= mixed(tail.readInt32LE(4), C2, 16, C3);
  h1 ^= mixed(tail.readInt32LE(0), C1, 15, C2);
  h1 ^= bytes.length;
  h2 ^= bytes.length;
  h3 ^= bytes.length;
  h4 ^= bytes.length;
  h1 = (h1 + h2 + h3 + h4) | 0;
  h2 = (h2 + h1) | 0;
  h3 = (h3 + h1) | 0;
  h4 = (h4 + h1) | 0;
  h1 = finished(h1);
  h2 = finished(h2);
  h3 = finished(h3);
  h4 = finished(h4);
  h1 = (h1 + h2 + h3 + h4) | 0;
  return [h1 >>> 0, (h2 + h1) >>> 0, (h3 + h1) >>> 0, (h4 + h1) >>> 0];
}
