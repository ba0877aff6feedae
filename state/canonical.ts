/** One text for equal values. */

/** JSON with sorted keys: equal values have equal text. */
export function canonical(value: unknown): string {
  return JSON.stringify(ordered(value));
}

/** Plain JSON with its keys in order; what is in order already is not copied. */
function ordered(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return orderedList(value);
  const object = value as Record<string, unknown>;
  if (typeof object['toJSON'] === 'function') return ordered(object['toJSON']());
  const keys = Object.keys(object);
  let copy: Record<string, unknown> | undefined;
  let isSorted = true;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as string;
    if (i > 0 && (keys[i - 1] as string) > key) isSorted = false;
    const before = object[key];
    const after = ordered(before);
    if (after === before) continue;
    copy ??= { ...object };
    copy[key] = after;
  }
  const same = copy ?? object;
  return isSorted ? same : Object.fromEntries(keys.sort().map((key) => [key, same[key]]));
}

function orderedList(list: readonly unknown[]): readonly unknown[] {
  let copy: unknown[] | undefined;
  for (let i = 0; i < list.length; i++) {
    const after = ordered(list[i]);
    if (after === list[i]) continue;
    copy ??= [...list];
    copy[i] = after;
  }
  return copy ?? list;
}
