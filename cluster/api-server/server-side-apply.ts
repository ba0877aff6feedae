/**
 * Server-side apply: fields belong to managers, `metadata.managedFields` says which, and applying merges.
 *
 * - What a manager applied before and leaves out now is removed, unless someone else also set it.
 * - A field that another manager set to another value is a conflict (409), unless forced.
 * - Plain updates are tracked only for objects that someone applied: only they can lose fields.
 */
import { ApiError, badRequest } from './errors.ts';
import {
  childSchema,
  type FieldSet,
  fromFieldsV1,
  isKeyed,
  keyElement,
  pathsOf,
  pathText,
  removePath,
  toFieldsV1,
} from './field-set.ts';
import type { Schema } from './schema.ts';
import {
  type ApiObject,
  apiVersionOf,
  isRecord,
  type JsonRecord,
  type ManagedFields,
  type ResourceType,
  sameJson,
} from './types.ts';

export interface ApplyOptions {
  fieldManager?: string;
  force?: boolean;
  subresource?: string;
}

/** Returns the merged object, a private copy. */
export function apply(
  type: ResourceType,
  old: ApiObject | undefined,
  applied: ApiObject,
  options: ApplyOptions,
  now: string,
): ApiObject {
  const manager = options.fieldManager ?? '';
  if (manager === '')
    throw badRequest(
      'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
    );
  if (applied.metadata.managedFields && applied.metadata.managedFields.length > 0)
    throw badRequest('metadata.managedFields must be nil');
  const subresource = options.subresource ?? '';
  const wanted = pathsOf(type.schema, owned(applied));
  const current = old ? pathsOf(type.schema, owned(old)) : new Map();
  const entries = old?.metadata.managedFields ?? [];
  const mine = entries.find((entry) => isEntry(entry, manager, 'Apply', subresource));
  const others = entries
    .filter((entry) => entry !== mine)
    .map((entry) => ({ entry, set: fromFieldsV1(entry.fieldsV1) }));

  const causes: { reason: string; message: string; field: string }[] = [];
  for (const { entry, set } of others) {
    for (const [key, { path, value }] of wanted) {
      if (!set.has(key) || !current.has(key) || sameJson(current.get(key)?.value, value)) continue;
      causes.push({
        reason: 'FieldManagerConflict',
        message: `conflict with "${entry.manager}" using ${entry.apiVersion}`,
        field: pathText(path),
      });
      set.delete(key);
    }
  }
  if (causes.length > 0 && !options.force) {
    const said = causes.map((cause) => `${cause.message}: ${cause.field}`).join(', ');
    throw new ApiError(
      409,
      'Conflict',
      `Apply failed with ${causes.length} conflict${causes.length === 1 ? '' : 's'}: ${said}`,
      { causes },
    );
  }

  const result = mergeApplied(type.schema, old ? structuredClone(old) : undefined, applied) as ApiObject;
  const kept = new Set([...wanted.keys(), ...others.flatMap(({ set }) => [...set.keys()])]);
  const dropped = mine
    ? [...fromFieldsV1(mine.fieldsV1)].filter(([key]) => !kept.has(key)).map(([, path]) => path)
    : [];
  // Items before what is inside them: an item without its key fields could not be found any more.
  for (const path of dropped.sort((a, b) => a.length - b.length)) {
    // A list item stays while anyone owns something inside it.
    const prefix = JSON.stringify(path).slice(0, -1);
    if (![...kept].some((key) => key.startsWith(`${prefix},`))) removePath(type.schema, result, path);
  }

  const fields: FieldSet = new Map([...wanted].map(([key, { path }]) => [key, path]));
  result.metadata.managedFields = [
    newEntry(type, manager, 'Apply', subresource, fields, now),
    ...others.filter(({ set }) => set.size > 0).map(({ entry, set }) => ({ ...entry, fieldsV1: toFieldsV1(set) })),
  ];
  return result;
}

/** Moves fields that an update changed to its manager. Changes `draft.metadata.managedFields`. */
export function trackUpdate(
  type: ResourceType,
  old: ApiObject,
  draft: ApiObject,
  manager: string,
  now: string,
  subresource: string,
): void {
  const given = draft.metadata.managedFields ?? old.metadata.managedFields ?? [];
  delete draft.metadata.managedFields;
  if (given.length === 0) return;
  const before = pathsOf(type.schema, owned(old));
  const after = pathsOf(type.schema, owned(draft));
  const changed: FieldSet = new Map();
  for (const [key, { path, value }] of after)
    if (!before.has(key) || !sameJson(before.get(key)?.value, value)) changed.set(key, path);
  const name = manager === '' ? 'unknown' : manager;
  const entries: ManagedFields[] = [];
  for (const entry of given) {
    const set = fromFieldsV1(entry.fieldsV1);
    const updater = isEntry(entry, name, 'Update', subresource);
    for (const key of [...set.keys()]) if (!after.has(key) || (changed.has(key) && !updater)) set.delete(key);
    if (updater) for (const [key, path] of changed) set.set(key, path);
    if (set.size > 0)
      entries.push({ ...entry, ...(updater && changed.size > 0 ? { time: now } : {}), fieldsV1: toFieldsV1(set) });
  }
  if (changed.size > 0 && !given.some((entry) => isEntry(entry, name, 'Update', subresource)))
    entries.push(newEntry(type, name, 'Update', subresource, changed, now));
  if (entries.length > 0) draft.metadata.managedFields = entries;
}

const isEntry = (entry: ManagedFields, manager: string, operation: string, subresource: string): boolean =>
  entry.manager === manager && entry.operation === operation && (entry.subresource ?? '') === subresource;

function newEntry(
  type: ResourceType,
  manager: string,
  operation: ManagedFields['operation'],
  subresource: string,
  fields: FieldSet,
  now: string,
): ManagedFields {
  return {
    manager,
    operation,
    apiVersion: apiVersionOf(type),
    time: now,
    fieldsType: 'FieldsV1',
    fieldsV1: toFieldsV1(fields),
    ...(subresource === '' ? {} : { subresource }),
  };
}

/** What can be owned: not the object's identity, nor what the server writes. */
function owned(object: ApiObject): JsonRecord {
  const { apiVersion: _apiVersion, kind: _kind, metadata, ...rest } = object;
  const { labels, annotations, finalizers, ownerReferences } = metadata;
  const meta = Object.fromEntries(
    Object.entries({ labels, annotations, finalizers, ownerReferences }).filter(([, value]) => value !== undefined),
  );
  return { ...rest, ...(Object.keys(meta).length > 0 ? { metadata: meta } : {}) };
}

/** Objects merge by field, keyed lists by item, sets by value; everything else is replaced. */
function mergeApplied(schema: Schema | undefined, old: unknown, applied: unknown): unknown {
  if (isRecord(old) && isRecord(applied) && schema?.['x-kubernetes-map-type'] !== 'atomic') {
    const result: JsonRecord = { ...old };
    for (const [key, value] of Object.entries(applied))
      result[key] = mergeApplied(childSchema(schema, key), old[key], value);
    return result;
  }
  if (Array.isArray(old) && Array.isArray(applied)) {
    if (schema?.['x-kubernetes-list-type'] === 'set')
      return [...old, ...applied.filter((item) => !old.some((other) => sameJson(item, other)))];
    if (isKeyed(schema)) {
      const byKey = new Map(applied.map((item) => [keyElement(schema, item), item]));
      const existing = old.map((item) => {
        const key = keyElement(schema, item);
        const update = byKey.get(key);
        byKey.delete(key);
        return update === undefined ? item : mergeApplied(schema.items, item, update);
      });
      return [...existing, ...byKey.values()];
    }
  }
  return structuredClone(applied);
}
