/** JSON Patch (RFC 6902), JSON Merge Patch (RFC 7386), and which patch a content type means. All work on private copies. */
import { ApiError, badRequest, shown, unsupportedMediaType } from './errors.ts';
import { strategicMerge } from './strategic-merge.ts';
import { type ApiObject, isRecord, type JsonRecord, type ResourceType, sameJson } from './types.ts';

const mediaTypes = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
} as const;

export type PatchKind = keyof typeof mediaTypes;

export function patchKind(type: ResourceType, contentType: string): PatchKind {
  const bare = contentType.split(';')[0]?.trim() ?? '';
  const kinds = (Object.keys(mediaTypes) as PatchKind[]).filter((kind) => !(type.custom && kind === 'strategic'));
  const kind = kinds.find((candidate) => mediaTypes[candidate] === bare);
  if (!kind)
    throw unsupportedMediaType(
      bare,
      kinds.map((candidate) => mediaTypes[candidate]),
    );
  return kind;
}

export function patched(
  type: ResourceType,
  kind: Exclude<PatchKind, 'apply'>,
  current: ApiObject,
  patch: unknown,
): unknown {
  switch (kind) {
    case 'json':
      return jsonPatch(current, patch);
    case 'merge':
      return mergePatch(current, patch);
    case 'strategic':
      return strategicMerge(type.schema, current, patch);
  }
}

export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch;
  const result: JsonRecord = isRecord(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = mergePatch(result[key], value);
  }
  return result;
}

interface Operation {
  op: string;
  path: string;
  from?: string;
  value?: unknown;
}

/** Operations are applied in order to `document`, which is changed. */
export function jsonPatch(document: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw badRequest(`a JSON patch is a list of operations, not ${shown(patch)}`);
  return patch.reduce<unknown>((current, operation) => {
    if (!isRecord(operation) || typeof operation.op !== 'string' || typeof operation.path !== 'string')
      throw badRequest(`a JSON patch operation needs op and path: ${shown(operation)}`);
    return perform(current, operation as unknown as Operation);
  }, document);
}

function perform(document: unknown, { op, path, from, value }: Operation): unknown {
  switch (op) {
    case 'add':
      return write(document, path, value, 'add');
    case 'replace':
      read(document, path);
      return write(document, path, value, 'replace');
    case 'remove':
      read(document, path);
      return write(document, path, undefined, 'remove');
    case 'move': {
      const moved = read(document, from ?? '');
      return write(write(document, from ?? '', undefined, 'remove'), path, moved, 'add');
    }
    case 'copy':
      return write(document, path, structuredClone(read(document, from ?? '')), 'add');
    case 'test':
      if (!sameJson(read(document, path), value)) throw unprocessable(`testing value ${path} failed`);
      return document;
    default:
      throw badRequest(`JSON patch operation ${shown(op)} is none of add, remove, replace, move, copy, test`);
  }
}

const unprocessable = (why: string): ApiError =>
  new ApiError(422, 'Invalid', `the server rejected our request due to an error in our request: ${why}`);

function steps(pointer: string): string[] {
  if (pointer === '') return [];
  if (!pointer.startsWith('/')) throw badRequest(`JSON pointer ${shown(pointer)} must start with "/"`);
  return pointer
    .slice(1)
    .split('/')
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function read(document: unknown, pointer: string): unknown {
  let at = document;
  for (const step of steps(pointer)) {
    const inner = Array.isArray(at)
      ? at[indexIn(at, step, false)]
      : isRecord(at) && Object.hasOwn(at, step)
        ? at[step]
        : undefined;
    if (inner === undefined) throw unprocessable(`path ${pointer} does not exist`);
    at = inner;
  }
  return at;
}

function write(document: unknown, pointer: string, value: unknown, how: 'add' | 'replace' | 'remove'): unknown {
  const path = steps(pointer);
  const last = path.pop();
  if (last === undefined) return how === 'remove' ? null : value;
  const parent = read(document, path.length === 0 ? '' : pointer.slice(0, pointer.lastIndexOf('/')));
  if (Array.isArray(parent)) {
    const index = indexIn(parent, last, how === 'add');
    if (how === 'add') parent.splice(index, 0, value);
    else if (how === 'replace') parent[index] = value;
    else parent.splice(index, 1);
  } else if (isRecord(parent)) {
    if (how === 'remove') delete parent[last];
    else parent[last] = value;
  } else throw unprocessable(`path ${pointer} is not inside an object or a list`);
  return document;
}

function indexIn(list: readonly unknown[], step: string, end: boolean): number {
  if (step === '-' && end) return list.length;
  const index = /^(0|[1-9]\d*)$/.test(step) ? Number(step) : -1;
  if (index < 0 || index >= list.length + (end ? 1 : 0)) throw unprocessable(`index ${step} is outside of the list`);
  return index;
}
