/** What an update makes of the old object and the body: which part counts, what stays, and whether anything changed. Pure. */
import { type ApiObject, apiVersionOf, isRecord, type JsonRecord, type ResourceType, sameJson } from './types.ts';

/** Which part of the body counts: the status for `/status`, everything else for the object itself. */
export function merged(type: ResourceType, old: ApiObject, body: ApiObject, subresource: string): ApiObject {
  const fixed = {
    uid: old.metadata.uid,
    creationTimestamp: old.metadata.creationTimestamp,
    generation: old.metadata.generation,
    deletionTimestamp: old.metadata.deletionTimestamp,
    deletionGracePeriodSeconds: old.metadata.deletionGracePeriodSeconds,
    namespace: old.metadata.namespace,
    name: old.metadata.name,
  };
  if (subresource === '') {
    const draft = { ...body, metadata: defined({ ...body.metadata, ...fixed }) } as unknown as ApiObject;
    delete draft.metadata.resourceVersion;
    if (type.subresources.includes('status')) setOrDrop(draft, 'status', structuredClone(old.status));
    return draft;
  }
  const draft = structuredClone(old);
  delete draft.metadata.resourceVersion;
  if (body.metadata.managedFields) draft.metadata.managedFields = body.metadata.managedFields;
  if (subresource === 'status') {
    setOrDrop(draft, 'status', body.status);
    if (!type.custom)
      draft.metadata = defined({
        ...draft.metadata,
        labels: body.metadata.labels,
        annotations: body.metadata.annotations,
      }) as unknown as ApiObject['metadata'];
  } else draft.spec = body.spec;
  return draft;
}

function setOrDrop(draft: ApiObject, field: string, value: unknown): void {
  if (value === undefined) delete draft[field];
  else draft[field] = value;
}

const defined = (record: object): JsonRecord =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));

function spec(type: ResourceType, object: ApiObject): JsonRecord {
  const { metadata: _metadata, status, apiVersion: _apiVersion, ...rest } = object;
  return type.subresources.includes('status') || status === undefined ? rest : { ...rest, status };
}

/** An update that changes nothing else does not change when fields were managed either. */
function comparable(object: ApiObject): JsonRecord {
  const { resourceVersion: _resourceVersion, managedFields, ...metadata } = object.metadata;
  return {
    ...object,
    metadata: { ...metadata, managedFields: managedFields?.map(({ time: _time, ...entry }) => entry) },
  };
}

/** Anything but metadata and status is different: a new generation. */
export function specChanged(type: ResourceType, old: ApiObject, draft: ApiObject): boolean {
  return !sameJson(spec(type, old), spec(type, draft));
}

export function unchanged(old: ApiObject, draft: ApiObject): boolean {
  return sameJson(comparable(old), comparable(draft));
}

/** The stored object as this version shows it: no conversion but the name of the version. */
export function inVersion(type: ResourceType, object: ApiObject): ApiObject {
  const apiVersion = apiVersionOf(type);
  return object.apiVersion === apiVersion || !isRecord(object) ? object : { ...object, apiVersion };
}
