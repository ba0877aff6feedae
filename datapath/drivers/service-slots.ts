/** The slots of a backend set, as they are and as they are to be; pure. */

/** A set as the programs see it. */
export interface SetValue {
  count: number;
  maglevSize: number;
  affinityTimeout: number;
}
/** A set as it is in the kernel; a slot that is missing is 0. */
export interface Kept {
  slots: readonly number[];
  maglevSize: number;
  affinityTimeout: number;
}

export const setValue = ({ slots, maglevSize, affinityTimeout }: Kept): SetValue => ({
  count: slots.length,
  maglevSize,
  affinityTimeout,
});
export const sameValue = (a: Kept, b: Kept): boolean =>
  a.slots.length === b.slots.length && a.maglevSize === b.maglevSize && a.affinityTimeout === b.affinityTimeout;
export const hasTable = ({ slots, maglevSize }: Kept): boolean => maglevSize > 0 && slots.length > 0;
/** The table is as it was, whatever its slots' order. */
export const sameTable = (a: Kept, b: Kept): boolean => {
  const members = new Set(a.slots);
  return (
    a.maglevSize === b.maglevSize && a.slots.length === b.slots.length && b.slots.every((number) => members.has(number))
  );
};

/** What lacks its matches or its table counts as being without affinity or Maglev, so that they are made anew. */
export function keptOf(value: SetValue, slots: readonly number[], matches: ReadonlySet<number>, hasOwn: boolean): Kept {
  const all = Array.from({ length: value.count }, (_, slot) => slots[slot] ?? 0);
  const isMatched = all.every((backend) => matches.has(backend));
  return {
    slots: all,
    maglevSize: value.count === 0 || hasOwn ? value.maglevSize : 0,
    affinityTimeout: isMatched ? value.affinityTimeout : 0,
  };
}

/** The slots with the wanted backends in them: those that stay stay where they are, if that is below the new count. */
export function placed(before: readonly number[], wanted: readonly number[]): number[] {
  const missing = new Set(wanted);
  const count = missing.size;
  const slots = Array.from({ length: count }, (_, slot) => {
    const backend = before[slot];
    return backend !== undefined && missing.delete(backend) ? backend : 0;
  });
  const left = missing.values();
  return slots.map((backend) => (backend === 0 ? (left.next().value as number) : backend));
}

/** Slots have an order of their own; if they hold what is known, it is as known. */
export function inKnownOrder(backends: string[], known: readonly string[] | undefined): string[] {
  const sorted = backends.sort();
  if (!known || known.length !== sorted.length) return sorted;
  return [...known].sort().every((name, i) => name === sorted[i]) ? [...known] : sorted;
}
