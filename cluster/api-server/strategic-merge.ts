/**
 * Strategic merge patch of built-in kinds: lists of objects merge by key, lists of scalars as sets.
 *
 * Directives: `$patch: delete|replace|merge`, `$deleteFromPrimitiveList/<field>`, `$setElementOrder/<field>`, `$retainKeys`.
 */
import { badRequest, shown } from './errors.ts';
import type { Schema } from './schema.ts';
import { isRecord, type JsonRecord, sameJson } from './types.ts';

export function strategicMerge(schema: Schema | undefined, current: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) throw badRequest(`a strategic merge patch is an object, not ${shown(patch)}`);
  return mergeObject(schema, isRecord(current) ? current : {}, patch);
}

function mergeObject(schema: Schema | undefined, current: JsonRecord, patch: JsonRecord): JsonRecord {
  const directive = patch.$patch;
  if (directive === 'replace') return withoutDirectives(patch);
  if (directive === 'delete') return {};
  if (directive !== undefined && directive !== 'merge')
    throw badRequest(`$patch: ${shown(directive)} is none of delete, merge, replace`);
  let result: JsonRecord = { ...current };
  if (Array.isArray(patch.$retainKeys)) {
    const retained = patch.$retainKeys.map(String);
    result = Object.fromEntries(Object.entries(result).filter(([key]) => retained.includes(key)));
  }
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith('$')) continue;
    const property =
      schema?.properties?.[key] ??
      (typeof schema?.additionalProperties === 'object' ? schema.additionalProperties : undefined);
    if (value === null) delete result[key];
    else if (isRecord(value)) result[key] = mergeObject(property, isRecord(result[key]) ? result[key] : {}, value);
    else if (Array.isArray(value))
      result[key] = mergeList(property, Array.isArray(result[key]) ? result[key] : [], value);
    else result[key] = value;
  }
  for (const [key, value] of Object.entries(patch)) {
    const removed = /^\$deleteFromPrimitiveList\/(.+)$/.exec(key)?.[1];
    const list = removed === undefined ? undefined : result[removed];
    if (removed !== undefined && Array.isArray(list) && Array.isArray(value))
      result[removed] = list.filter((item) => !value.includes(item));
    const ordered = /^\$setElementOrder\/(.+)$/.exec(key)?.[1];
    const unordered = ordered === undefined ? undefined : result[ordered];
    if (ordered !== undefined && Array.isArray(unordered) && Array.isArray(value))
      result[ordered] = reorder(schema?.properties?.[ordered], unordered, value);
  }
  return result;
}

function mergeList(schema: Schema | undefined, current: readonly unknown[], patch: readonly unknown[]): unknown[] {
  const key = schema?.['x-kubernetes-patch-merge-key'];
  if (schema?.['x-kubernetes-patch-strategy'] !== 'merge') return patch.map(bare);
  if (key === undefined)
    return [...current, ...patch.filter((item) => !current.some((other) => sameJson(item, other)))];
  if (patch.some((item) => isRecord(item) && item.$patch === 'replace')) {
    return patch.filter((item) => !(isRecord(item) && item.$patch === 'replace' && item[key] === undefined)).map(bare);
  }
  const result = [...current];
  for (const item of patch) {
    if (!isRecord(item)) throw badRequest(`items of this list are merged by ${key}: ${shown(item)} is not an object`);
    if (item[key] === undefined) throw badRequest(`map: ${shown(item)} does not contain declared merge key: ${key}`);
    const index = result.findIndex((other) => isRecord(other) && sameJson(other[key], item[key]));
    if (item.$patch === 'delete') {
      if (index >= 0) result.splice(index, 1);
    } else if (index < 0) result.push(withoutDirectives(item));
    else result[index] = mergeObject(schema.items, result[index] as JsonRecord, item);
  }
  return result;
}

/** Items named in `order` come in that order; others keep their place behind the item they followed. */
function reorder(schema: Schema | undefined, list: readonly unknown[], order: readonly unknown[]): unknown[] {
  const key = schema?.['x-kubernetes-patch-merge-key'];
  const rank = (item: unknown): number =>
    order.findIndex((wanted) =>
      key !== undefined && isRecord(wanted) && isRecord(item)
        ? sameJson(wanted[key], item[key])
        : sameJson(wanted, item),
    );
  let last = -1;
  const ranked = list.map((item, i) => {
    const own = rank(item);
    if (own >= 0) last = own;
    return { item, i, rank: own >= 0 ? own : last };
  });
  return ranked.sort((a, b) => a.rank - b.rank || a.i - b.i).map(({ item }) => item);
}

/** What a patch adds as a whole keeps no directives. */
function withoutDirectives(value: JsonRecord): JsonRecord {
  const kept = Object.entries(value).filter(([key, inner]) => !key.startsWith('$') && inner !== null);
  return Object.fromEntries(kept.map(([key, inner]) => [key, bare(inner)]));
}

function bare(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(bare);
  return isRecord(value) ? withoutDirectives(value) : value;
}
