/** Server-side printing: objects as the Table that `kubectl get` shows. */
import type { ListResult } from './lists.ts';
import type { ApiObject, JsonRecord, ResourceType } from './types.ts';

export type IncludeObject = 'None' | 'Metadata' | 'Object';

/** How a client wants to see objects. */
export type Presentation =
  | { as: 'object' }
  | { as: 'table'; version: string; include: IncludeObject }
  | { as: 'metadata' };

/** Reads `Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json`: the first form that is known here. */
export function presentation(accept: string, query: URLSearchParams): Presentation {
  for (const form of accept.split(',')) {
    const [media = '', ...parameters] = form.split(';').map((part) => part.trim());
    if (!['application/json', 'application/*', '*/*', ''].includes(media)) continue;
    const wanted = Object.fromEntries(parameters.map((parameter) => parameter.split('=')));
    if (wanted.as === undefined) return { as: 'object' };
    if (wanted.as === 'Table' && wanted.g === 'meta.k8s.io') {
      const include = query.get('includeObject');
      return {
        as: 'table',
        version: wanted.v ?? 'v1',
        include: include === 'None' || include === 'Object' ? include : 'Metadata',
      };
    }
    if (wanted.as === 'PartialObjectMetadata' || wanted.as === 'PartialObjectMetadataList') return { as: 'metadata' };
  }
  return { as: 'object' };
}

/** The Content-Type that says which form the body has. */
export function contentType(shown: Presentation): string {
  return shown.as === 'table' ? `application/json;as=Table;v=${shown.version};g=meta.k8s.io` : 'application/json';
}

export function tableOf(
  type: ResourceType,
  items: readonly ApiObject[],
  metadata: object,
  shown: Presentation & { as: 'table' },
  now: number,
  headers = true,
): JsonRecord {
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${shown.version}`,
    metadata,
    columnDefinitions: headers
      ? type.columns.map(({ name, type: columnType, format, description, priority }) => ({
          name,
          type: columnType,
          format: format ?? '',
          description: description ?? name,
          priority,
        }))
      : null,
    rows: items.map((object) => ({
      cells: type.columns.map((column) => column.value(object, now) ?? null),
      ...included(object, shown),
    })),
  };
}

export function present(type: ResourceType, object: ApiObject, shown: Presentation, now: number): unknown {
  if (shown.as === 'table')
    return tableOf(
      type,
      isBookmark(object) ? [] : [object],
      { resourceVersion: object.metadata.resourceVersion },
      shown,
      now,
    );
  return shown.as === 'metadata' ? metadataOf(object) : object;
}

export function presentList(
  type: ResourceType,
  list: ListResult,
  body: JsonRecord,
  shown: Presentation,
  now: number,
): JsonRecord {
  if (shown.as === 'table') return tableOf(type, list.items, list.metadata, shown, now);
  if (shown.as === 'metadata')
    return {
      kind: 'PartialObjectMetadataList',
      apiVersion: 'meta.k8s.io/v1',
      metadata: list.metadata,
      items: list.items.map(metadataOf),
    };
  return body;
}

function included(object: ApiObject, shown: Presentation & { as: 'table' }): JsonRecord {
  if (shown.include === 'None') return {};
  return {
    object: shown.include === 'Object' ? object : { ...metadataOf(object), apiVersion: `meta.k8s.io/${shown.version}` },
  };
}

const metadataOf = (object: ApiObject): JsonRecord => ({
  kind: 'PartialObjectMetadata',
  apiVersion: 'meta.k8s.io/v1',
  metadata: object.metadata,
});

const isBookmark = (object: ApiObject): boolean => object.metadata.name === undefined;
