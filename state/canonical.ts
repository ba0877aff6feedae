/** One text for equal values. */

/** JSON with sorted keys: equal values have equal text. */
export function canonical(value: unknown): string {
  return JSON.stringify(ordered(value));
}

/** Plain JSON with its keys in order; what is in order already is not copied. */
function ordered(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(ordered);
  const object = value as Record<string, unknown>;
  if (typeof object['toJSON'] === 'function') return ordered(object['toJSON']());
  const keys = Object.keys(object);
  let isOrdered = true;
  for (let i = 0; i < keys.length && isOrdered; i++) {
    const inner = object[keys[i] as string];
    isOrdered =
      (i === 0 || (keys[i - 1] as string) < (keys[i] as string)) && (inner === null || typeof inner !== 'object');
  }
  return isOrdered ? object : Object.fromEntries(keys.sort().map((key) => [key, ordered(object[key])]));
}
