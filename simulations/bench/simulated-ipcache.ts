/**
 * The ipcache of a simulated kernel in memory that is there from the start, as a BPF map's is: what an agent's memory is measured by must not
 * hold the kernel's. Keys are told from each other by 64 bits of hash.
 */
import type { Driver, Op, OpResult } from '../../datapath/driver.ts';
import type { IpcacheRow } from '../../state/tables.ts';

/** Of 32 bits: two of the key's hash, identity, encryption key and flags, and a hash of the tunnel endpoint. */
const WORDS = 5;
const USED = 1;
const GONE = 2;

export class SimulatedIpcache implements Driver {
  readonly tables = ['bpf.ipcache'] as const;
  readonly lane = 'kernel';
  readonly #slots: Uint32Array;
  readonly #state: Uint8Array;
  readonly #last: number;
  size = 0;

  /** `slots` is a power of two, and more than ever rows are. */
  constructor(slots: number) {
    this.#slots = new Uint32Array(slots * WORDS).fill(1);
    this.#state = new Uint8Array(slots).fill(0);
    this.#last = slots - 1;
  }

  apply(ops: readonly Op[]): OpResult[] {
    for (const { key, action, value } of ops) {
      if (action === 'put') this.#put(key, value as IpcacheRow);
      else this.#delete(key);
    }
    return ops.map(() => undefined);
  }

  identityOf(key: string): number | undefined {
    const at = this.#find(key);
    return at < 0 ? undefined : this.#slots[at * WORDS + 2];
  }

  #put(key: string, { identity, encryptKey, flags, tunnelEndpoint }: IpcacheRow): void {
    let at = this.#find(key);
    if (at < 0) {
      for (at = hash(key, 0) & this.#last; this.#state[at] === USED; at = (at + 1) & this.#last);
      this.#state[at] = USED;
      this.size++;
    }
    this.#slots.set(
      [hash(key, 0), hash(key, 7), identity, (encryptKey << 16) | flags, hash(tunnelEndpoint, 0)],
      at * WORDS,
    );
  }

  #delete(key: string): void {
    const at = this.#find(key);
    if (at < 0) return;
    this.#state[at] = GONE;
    this.size--;
  }

  #find(key: string): number {
    const [high, low] = [hash(key, 0), hash(key, 7)];
    for (let at = high & this.#last; this.#state[at] !== 0; at = (at + 1) & this.#last)
      if (this.#state[at] === USED && this.#slots[at * WORDS] === high && this.#slots[at * WORDS + 1] === low)
        return at;
    return -1;
  }
}

function hash(text: string, seed: number): number {
  let sum = 0x811c9dc5 ^ seed;
  for (let at = 0; at < text.length; at++) sum = Math.imul(sum ^ text.charCodeAt(at), 0x01000193 + seed * 2);
  return (Math.imul(sum ^ (sum >>> 15), 0x2c1b3c6d) ^ (sum >>> 12)) >>> 0;
}
