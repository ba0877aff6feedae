/**
 * Maps that are values: a change makes a new map, which shares all that it did not change with the old one (a hash array mapped trie).
 *
 * - `set` and `delete` cost a few small arrays, whatever the size.
 * - Changes made under one `Edit` reuse what that edit has made already, so that many at once are cheap. Nobody else may hold a map from
 *   the middle of an edit; once the Edit is forgotten, its maps can not change any more.
 * - The order of entries depends on keys alone, not on history; for numbers below 2^30 and maps that hold few of them it is not sorted.
 */

/** The right to change in place what was made under it. */
export class Edit {
  declare private readonly brand: undefined;
}

export type Key = string | number;

interface Leaf<K, V> {
  readonly hash: number;
  readonly key: K;
  readonly value: V;
}

/** `bitmap` says which of 32 slots are there; at the end of the hash it is 0 and the slots are leaves that collide. */
interface Branch<K, V> {
  bitmap: number;
  slots: (Leaf<K, V> | Branch<K, V>)[];
  edit: Edit | undefined;
}

const BITS = 5;
const HASH_BITS = 32;

const isBranch = <K, V>(slot: Leaf<K, V> | Branch<K, V>): slot is Branch<K, V> => 'slots' in slot;

function hashOf(key: Key): number {
  if (typeof key === 'number') return key | 0;
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return hash ^ (hash >>> 15);
}

function popcount(bits: number): number {
  let n = bits - ((bits >>> 1) & 0x55555555);
  n = (n & 0x33333333) + ((n >>> 2) & 0x33333333);
  return Math.imul((n + (n >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

const bitOf = (hash: number, shift: number): number => 1 << ((hash >>> shift) & 31);
const indexOf = (bitmap: number, bit: number): number => popcount(bitmap & (bit - 1));

export class PersistentMap<K extends Key, V> {
  readonly size: number;
  private readonly root: Branch<K, V>;

  private constructor(size: number, root: Branch<K, V>) {
    this.size = size;
    this.root = root;
  }

  private static readonly none = new PersistentMap<Key, unknown>(0, { bitmap: 0, slots: [], edit: undefined });
  static empty<K extends Key, V>(): PersistentMap<K, V> {
    return PersistentMap.none as unknown as PersistentMap<K, V>;
  }

  get(key: K): V | undefined {
    const hash = hashOf(key);
    let branch = this.root;
    for (let shift = 0; ; shift += BITS) {
      if (shift >= HASH_BITS) return (branch.slots as Leaf<K, V>[]).find((leaf) => leaf.key === key)?.value;
      const bit = bitOf(hash, shift);
      if ((branch.bitmap & bit) === 0) return undefined;
      const slot = branch.slots[indexOf(branch.bitmap, bit)] as Leaf<K, V> | Branch<K, V>;
      if (!isBranch(slot)) return slot.key === key ? slot.value : undefined;
      branch = slot;
    }
  }

  has(key: K): boolean {
    return this.get(key) !== undefined;
  }

  /** The map with this entry. `undefined` is no value. */
  set(key: K, value: V, edit?: Edit): PersistentMap<K, V> {
    const leaf: Leaf<K, V> = { hash: hashOf(key), key, value };
    const change = { grown: 0 };
    const root = put(this.root, 0, leaf, edit, change);
    return change.grown === 0 && root === this.root ? this : new PersistentMap(this.size + change.grown, root);
  }

  delete(key: K, edit?: Edit): PersistentMap<K, V> {
    if (!this.has(key)) return this;
    if (this.size === 1) return PersistentMap.empty();
    const root = remove(this.root, 0, hashOf(key), key, edit);
    return new PersistentMap(this.size - 1, root as Branch<K, V>);
  }

  *entries(): Generator<[K, V]> {
    const path: { slots: (Leaf<K, V> | Branch<K, V>)[]; at: number }[] = [{ slots: this.root.slots, at: 0 }];
    for (let top = path.at(-1); top; top = path.at(-1)) {
      const slot = top.slots[top.at++];
      if (slot === undefined) path.pop();
      else if (isBranch(slot)) path.push({ slots: slot.slots, at: 0 });
      else yield [slot.key, slot.value];
    }
  }

  /** Faster than a loop over `entries`. */
  forEach(visit: (value: V, key: K) => void): void {
    walk(this.root, visit);
  }

  keys(): K[] {
    const keys: K[] = [];
    this.forEach((_, key) => keys.push(key));
    return keys;
  }

  values(): V[] {
    const values: V[] = [];
    this.forEach((value) => values.push(value));
    return values;
  }
}

function walk<K, V>(branch: Branch<K, V>, visit: (value: V, key: K) => void): void {
  for (const slot of branch.slots) {
    if (isBranch(slot)) walk(slot, visit);
    else visit(slot.value, slot.key);
  }
}

function owned<K, V>(branch: Branch<K, V>, edit: Edit | undefined): Branch<K, V> {
  if (edit !== undefined && branch.edit === edit) return branch;
  return { bitmap: branch.bitmap, slots: branch.slots.slice(), edit };
}

function put<K, V>(
  branch: Branch<K, V>,
  shift: number,
  leaf: Leaf<K, V>,
  edit: Edit | undefined,
  change: { grown: number },
): Branch<K, V> {
  if (shift >= HASH_BITS) {
    const at = branch.slots.findIndex((slot) => (slot as Leaf<K, V>).key === leaf.key);
    const mine = owned(branch, edit);
    if (at < 0) change.grown = 1;
    mine.slots[at < 0 ? mine.slots.length : at] = leaf;
    return mine;
  }
  const bit = bitOf(leaf.hash, shift);
  const at = indexOf(branch.bitmap, bit);
  if ((branch.bitmap & bit) === 0) {
    change.grown = 1;
    const mine = owned(branch, edit);
    mine.slots.splice(at, 0, leaf);
    mine.bitmap |= bit;
    return mine;
  }
  const slot = branch.slots[at] as Leaf<K, V> | Branch<K, V>;
  let next: Leaf<K, V> | Branch<K, V>;
  if (isBranch(slot)) next = put(slot, shift + BITS, leaf, edit, change);
  else if (slot.key === leaf.key) {
    if (slot.value === leaf.value) return branch;
    next = leaf;
  } else {
    change.grown = 1;
    next = split(shift + BITS, slot, leaf, edit);
  }
  if (next === slot) return branch;
  const mine = owned(branch, edit);
  mine.slots[at] = next;
  return mine;
}

/** A branch of two leaves. */
function split<K, V>(shift: number, a: Leaf<K, V>, b: Leaf<K, V>, edit: Edit | undefined): Branch<K, V> {
  if (shift >= HASH_BITS) return { bitmap: 0, slots: [a, b], edit };
  const [bitA, bitB] = [bitOf(a.hash, shift), bitOf(b.hash, shift)];
  if (bitA === bitB) return { bitmap: bitA, slots: [split(shift + BITS, a, b, edit)], edit };
  const aFirst = indexOf(bitA | bitB, bitA) === 0;
  return { bitmap: bitA | bitB, slots: aFirst ? [a, b] : [b, a], edit };
}

/** The key is in the branch. Undefined: nothing is left. A branch of one leaf becomes that leaf, so that history leaves no trace. */
function remove<K, V>(
  branch: Branch<K, V>,
  shift: number,
  hash: number,
  key: K,
  edit: Edit | undefined,
): Branch<K, V> | Leaf<K, V> | undefined {
  const isLast = shift >= HASH_BITS;
  const bit = isLast ? 0 : bitOf(hash, shift);
  const at = isLast ? branch.slots.findIndex((slot) => (slot as Leaf<K, V>).key === key) : indexOf(branch.bitmap, bit);
  const slot = branch.slots[at] as Leaf<K, V> | Branch<K, V>;
  const rest = isBranch(slot) ? remove(slot, shift + BITS, hash, key, edit) : undefined;
  const mine = owned(branch, edit);
  if (rest !== undefined) mine.slots[at] = rest;
  else {
    mine.slots.splice(at, 1);
    mine.bitmap &= ~bit;
  }
  const [only] = mine.slots;
  if (only === undefined) return undefined;
  return shift > 0 && mine.slots.length === 1 && !isBranch(only) ? only : mine;
}
