/**
 * Lists: filtered, in pages, at a revision.
 *
 * - All pages of one list show one revision, the first page's; when that is compacted the next page is 410.
 */
import { badRequest, expired, revisionTooLarge } from './errors.ts';
import type { Filter } from './filter.ts';
import type { ListParameters } from './request-info.ts';
import type { Storage } from './storage.ts';
import { type ApiObject, apiVersionOf, type JsonRecord, type ResourceType } from './types.ts';
import { inVersion } from './update.ts';

export interface ListResult {
  items: ApiObject[];
  metadata: { resourceVersion: string; continue?: string; remainingItemCount?: number };
}

/** Where the next page starts: after this key, at this revision. */
interface Position {
  revision: number;
  after: string;
}

export function listObjects(
  storage: Storage,
  type: ResourceType,
  namespace: string,
  filter: Filter,
  parameters: ListParameters,
): ListResult {
  const position = parameters.continue === '' ? undefined : readPosition(parameters.continue);
  const revision = position?.revision ?? revisionOf(storage, parameters);
  if (revision < storage.compacted) {
    throw expired(
      position
        ? 'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.'
        : `The resourceVersion for the provided list is too old: ${revision}`,
    );
  }
  let items = storage.listAt(type.storageKey, revision, namespace).filter(filter);
  const after = position?.after;
  if (after !== undefined) items = items.filter((object) => keyOf(object) > after);
  const { limit } = parameters;
  const page = limit > 0 && items.length > limit ? items.slice(0, limit) : items;
  const metadata: ListResult['metadata'] = { resourceVersion: String(revision) };
  const last = page.at(-1);
  if (page.length < items.length && last) {
    metadata.continue = Buffer.from(JSON.stringify({ revision, after: keyOf(last) } satisfies Position)).toString(
      'base64url',
    );
    metadata.remainingItemCount = items.length - page.length;
  }
  return { items: page.map((object) => inVersion(type, object)), metadata };
}

export function listBody(type: ResourceType, { items, metadata }: ListResult): JsonRecord {
  return { kind: type.listKind, apiVersion: apiVersionOf(type), metadata, items };
}

function revisionOf(storage: Storage, parameters: ListParameters): number {
  const asked = parseRevision(parameters.resourceVersion);
  if (asked === undefined || asked === 0) return storage.revision;
  if (asked > storage.revision) throw revisionTooLarge(asked, storage.revision);
  return parameters.resourceVersionMatch === 'Exact' ? asked : storage.revision;
}

export function parseRevision(text: string): number | undefined {
  if (text === '') return undefined;
  if (!/^\d{1,15}$/.test(text)) throw badRequest(`resourceVersion: Invalid value: "${text}": must be a number`);
  return Number(text);
}

const keyOf = (object: ApiObject): string => `${object.metadata.namespace ?? ''}/${object.metadata.name}`;

function readPosition(token: string): Position {
  try {
    const { revision, after } = JSON.parse(Buffer.from(token, 'base64url').toString()) as Position;
    if (Number.isInteger(revision) && typeof after === 'string') return { revision, after };
  } catch {
    // falls through to the one message for all malformed tokens
  }
  throw badRequest('continue key is not valid: it is not a token of this server');
}
