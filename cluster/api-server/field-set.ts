/**
 * Sets of field paths: what server-side apply knows of who set which fields, and its `fieldsV1` form.
 *
 * - A path is a list of elements: `f:name` for a field, `k:{"name":"a"}` for a list item by key, `v:1` for a set item.
 * - Leaves are scalars, atomic lists and maps, and empty objects; a keyed list item is also a path by itself.
 */
import type { Schema } from './schema.ts';
import { isRecord, type JsonRecord } from './types.ts';

export type Path = readonly string[];
/** Keyed by the path as JSON. */
export type FieldSet = Map<string, Path>;

/** All paths of a value, with the value at each. */
export function pathsOf(schema: Schema | undefined, value: unknown): Map<string, { path: Path; value: unknown }> {
  const found = new Map<string, { path: Path; value: unknown }>();
  const add = (path: Path, at: unknown): unknown => found.set(JSON.stringify(path), { path, value: at });
  const walk = (node: Schema | undefined, at: unknown, path: Path): void => {
    if (Array.isArray(at) && node?.['x-kubernetes-list-type'] === 'set') {
      for (const item of at) add([...path, `v:${JSON.stringify(item)}`], item);
    } else if (Array.isArray(at) && isKeyed(node)) {
      for (const item of at) {
        const inner = [...path, keyElement(node, item)];
        add(inner, undefined);
        walk(node.items, item, inner);
      }
    } else if (isRecord(at) && Object.keys(at).length > 0 && node?.['x-kubernetes-map-type'] !== 'atomic') {
      for (const [key, inner] of Object.entries(at)) walk(childSchema(node, key), inner, [...path, `f:${key}`]);
    } else if (path.length > 0) add(path, at);
  };
  walk(schema, value, []);
  return found;
}

export function childSchema(schema: Schema | undefined, key: string): Schema | undefined {
  return (
    schema?.properties?.[key] ??
    (typeof schema?.additionalProperties === 'object' ? schema.additionalProperties : undefined)
  );
}

export function isKeyed(schema: Schema | undefined): schema is Schema {
  return schema?.['x-kubernetes-list-type'] === 'map' && (schema['x-kubernetes-list-map-keys'] ?? []).length > 0;
}

/** Keys that are usually left out mean their default. */
const keyDefaults: JsonRecord = { protocol: 'TCP' };

export function keyElement(schema: Schema, item: unknown): string {
  const keys = [...(schema['x-kubernetes-list-map-keys'] ?? [])].sort();
  const record = isRecord(item) ? item : {};
  return `k:${JSON.stringify(Object.fromEntries(keys.map((key) => [key, record[key] ?? keyDefaults[key]]).filter(([, value]) => value !== undefined)))}`;
}

export function toFieldsV1(set: FieldSet): JsonRecord {
  const root: JsonRecord = {};
  for (const path of set.values()) {
    let at = root;
    for (const element of path) {
      at[element] ??= {};
      at = at[element] as JsonRecord;
    }
    if (path.at(-1)?.startsWith('k:')) at['.'] = {};
  }
  return root;
}

export function fromFieldsV1(fields: JsonRecord): FieldSet {
  const set: FieldSet = new Map();
  const walk = (node: JsonRecord, path: Path): void => {
    const inner = Object.keys(node).filter((key) => key !== '.');
    if (path.length > 0 && (inner.length === 0 || '.' in node)) set.set(JSON.stringify(path), path);
    for (const key of inner) if (isRecord(node[key])) walk(node[key], [...path, key]);
  };
  walk(fields, []);
  return set;
}

/** `.spec.containers[name="a"].image`, as conflict messages show it. */
export function pathText(path: Path): string {
  return path
    .map((element) => {
      if (element.startsWith('f:')) return `.${element.slice(2)}`;
      if (element.startsWith('v:')) return `[=${element.slice(2)}]`;
      const keys = Object.entries(JSON.parse(element.slice(2)) as JsonRecord);
      return `[${keys.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(',')}]`;
    })
    .join('');
}

/** Removes what a path names from a mutable value. An item goes by its key; emptied objects stay. */
export function removePath(schema: Schema | undefined, value: unknown, path: Path): void {
  const [element, ...rest] = path;
  if (element === undefined) return;
  if (element.startsWith('f:') && isRecord(value)) {
    const key = element.slice(2);
    if (rest.length === 0) delete value[key];
    else removePath(childSchema(schema, key), value[key], rest);
    return;
  }
  if (!Array.isArray(value)) return;
  const index = value.findIndex((item) =>
    element.startsWith('v:')
      ? `v:${JSON.stringify(item)}` === element
      : schema !== undefined && keyElement(schema, item) === element,
  );
  if (index < 0) return;
  if (rest.length === 0) value.splice(index, 1);
  else removePath(schema?.items, value[index], rest);
}
