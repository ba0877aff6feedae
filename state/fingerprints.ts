/**
 * A set of texts that keeps of each only 64 bits of hash, in 8 to 20 bytes: says what is on disk, so that nobody looks there in vain.
 *
 * - What was added is there. That something else seems to be has a chance of its size in 2^64.
 * - A text is added at most once before it is deleted.
 */

const SLOTS_MIN = 1_024;
/** Of the slots that may be in use. */
const FULL = 0.85;
/** Below it the table is made smaller. */
const SPARSE = 0.2;
/** Two words a slot; both 0: free. */
const WORDS = 2;

export class Fingerprints {
  #slots = new Uint32Array(SLOTS_MIN * WORDS);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(text: string): boolean {
    this.#hash(text);
    return this.#find(this.#high, this.#low) >= 0;
  }

  add(text: string): void {
    if (this.#size + 1 > this.#capacity * FULL) this.#resize(this.#capacity * 2);
    this.#hash(text);
    this.#insert(this.#high, this.#low);
    this.#size++;
  }

  /** Whether it was there. */
  delete(text: string): boolean {
    this.#hash(text);
    const at = this.#find(this.#high, this.#low);
    if (at < 0) return false;
    this.#close(at);
    this.#size--;
    if (this.#capacity > SLOTS_MIN && this.#size < this.#capacity * SPARSE) this.#resize(this.#capacity / 2);
    return true;
  }

  get #capacity(): number {
    return this.#slots.length / WORDS;
  }

  #high = 0;
  #low = 0;

  /** Two walks of FNV-1a with other beginnings and other mixing at the end. */
  #hash(text: string): void {
    let high = 0x811c9dc5;
    let low = 0x2545f491;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      high = Math.imul(high ^ code, 0x01000193);
      low = Math.imul(low ^ code, 0x85ebca6b);
      low ^= low >>> 15;
    }
    high = Math.imul(high ^ (high >>> 16), 0x7feb352d);
    this.#high = (high ^ (high >>> 15)) >>> 0;
    // 0 is no fingerprint.
    this.#low = (Math.imul(low ^ (low >>> 13), 0xc2b2ae35) | 1) >>> 0;
  }

  #home(high: number): number {
    return high & (this.#capacity - 1);
  }

  #find(high: number, low: number): number {
    const last = this.#capacity - 1;
    for (let at = this.#home(high); ; at = (at + 1) & last) {
      const found = this.#slots[at * WORDS + 1];
      if (found === 0) return -1;
      if (found === low && this.#slots[at * WORDS] === high) return at;
    }
  }

  #insert(high: number, low: number): void {
    const last = this.#capacity - 1;
    let at = this.#home(high);
    while (this.#slots[at * WORDS + 1] !== 0) at = (at + 1) & last;
    this.#slots[at * WORDS] = high;
    this.#slots[at * WORDS + 1] = low;
  }

  /** Frees a slot, and moves up what was pushed past it. */
  #close(free: number): void {
    const last = this.#capacity - 1;
    let hole = free;
    for (let at = (hole + 1) & last; this.#slots[at * WORDS + 1] !== 0; at = (at + 1) & last) {
      const high = this.#slots[at * WORDS] as number;
      if (((at - this.#home(high)) & last) < ((at - hole) & last)) continue;
      this.#slots[hole * WORDS] = high;
      this.#slots[hole * WORDS + 1] = this.#slots[at * WORDS + 1] as number;
      hole = at;
    }
    this.#slots[hole * WORDS] = 0;
    this.#slots[hole * WORDS + 1] = 0;
  }

  #resize(capacity: number): void {
    const before = this.#slots;
    this.#slots = new Uint32Array(capacity * WORDS);
    for (let at = 0; at < before.length; at += WORDS)
      if (before[at + 1] !== 0) this.#insert(before[at] as number, before[at + 1] as number);
  }
}
