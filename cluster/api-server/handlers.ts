/** Verbs on resources: from a request with a parsed body to what is answered. */

import type { ServerResponse } from 'node:http';
import type { DeleteOptions } from './deletion.ts';
import { badRequest, methodNotAllowed, pathNotFound, success } from './errors.ts';
import { filterOf } from './filter.ts';
import { listBody, listObjects } from './lists.ts';
import { patched, patchKind } from './patch.ts';
import { listParameters, type ResourcePath, writeParameters } from './request-info.ts';
import type { Store, WriteOptions } from './store.ts';
import { contentType, type Presentation, present, presentation, presentList } from './tables.ts';
import { type ApiObject, isRecord, type ResourceType, stringAt } from './types.ts';
import { serveWatch } from './watches.ts';

export interface ApiRequest {
  method: string;
  path: ResourcePath;
  query: URLSearchParams;
  accept: string;
  contentType: string;
  userAgent: string;
  body: unknown;
}

export interface Answer {
  status: number;
  body: unknown;
  contentType: string;
  warnings: string[];
}

/** Undefined: the response is a watch and already under way. */
export function handleResource(
  store: Store,
  request: ApiRequest,
  response: ServerResponse,
  now: () => number,
): Answer | undefined {
  const { path, query } = request;
  const type = store.registry.find(path.group, path.version, path.plural);
  if (!type || (path.subresource !== '' && !type.subresources.includes(path.subresource))) throw pathNotFound();
  if (!type.namespaced && path.namespace !== '') throw pathNotFound();
  const shown = presentation(request.accept, query);
  const warnings: string[] = [];
  const answer = (body: unknown, status = 200): Answer => ({ status, body, contentType: 'application/json', warnings });
  const answerObject = (object: ApiObject, status = 200): Answer => ({
    status,
    body: present(type, object, shown, now()),
    contentType: contentType(shown),
    warnings,
  });
  if (path.name === '')
    return handleCollection(store, type, request, response, shown, now, warnings, answerObject, answer);
  if (type.namespaced && path.namespace === '')
    throw badRequest('an empty namespace may not be set when a resource name is provided');

  const write = writeParameters(query, request.userAgent);
  const subresource = path.subresource as WriteOptions['subresource'] & string;
  const options: WriteOptions = { ...write, subresource, warnings };
  switch (request.method) {
    case 'GET':
      if (query.get('watch') === 'true' || query.get('watch') === '1') {
        query.set('fieldSelector', `metadata.name=${path.name}`);
        return handleCollection(store, type, request, response, shown, now, warnings, answerObject, answer);
      }
      return answerObject(store.get(type, path.namespace, path.name));
    case 'PUT':
      return answerObject(store.update(type, path.namespace, path.name, request.body, options));
    case 'PATCH': {
      const kind = patchKind(type, request.contentType);
      if (kind === 'apply') {
        const { object, created } = store.apply(type, path.namespace, path.name, request.body, {
          ...options,
          force: write.force,
        });
        return answerObject(object, created ? 201 : 200);
      }
      return answerObject(
        store.modify(type, path.namespace, path.name, (current) => patched(type, kind, current, request.body), options),
      );
    }
    case 'POST':
      if (path.subresource !== 'binding') throw methodNotAllowed(type);
      bind(store, type, path, request.body, options);
      return answer({ ...success({}), code: 201 }, 201);
    case 'DELETE': {
      if (path.subresource !== '') throw methodNotAllowed(type);
      const { object, gone } = store.delete(type, path.namespace, path.name, deleteOptions(request));
      if (!gone || type.kind === 'Pod') return answerObject(object);
      return answer(
        success({
          name: path.name,
          group: type.group,
          kind: type.plural,
          ...(object.metadata.uid ? { uid: object.metadata.uid } : {}),
        }),
      );
    }
    default:
      throw methodNotAllowed(type);
  }
}

function handleCollection(
  store: Store,
  type: ResourceType,
  request: ApiRequest,
  response: ServerResponse,
  shown: Presentation,
  now: () => number,
  warnings: string[],
  answerObject: (object: ApiObject, status?: number) => Answer,
  answer: (body: unknown, status?: number) => Answer,
): Answer | undefined {
  const { path, query } = request;
  if (request.method === 'POST') {
    if (type.namespaced && path.namespace === '') throw badRequest('an empty namespace may not be set during creation');
    return answerObject(
      store.create(type, path.namespace, request.body, { ...writeParameters(query, request.userAgent), warnings }),
      201,
    );
  }
  const parameters = listParameters(query);
  const filter = filterOf(type, parameters.labelSelector, parameters.fieldSelector);
  if (request.method === 'DELETE') {
    const options = deleteOptions(request);
    const deleted = listObjects(store.storage, type, path.namespace, filter, { ...parameters, resourceVersion: '' });
    for (const object of deleted.items)
      store.delete(type, object.metadata.namespace ?? '', object.metadata.name, options);
    return answer(listBody(type, deleted));
  }
  if (request.method !== 'GET') throw methodNotAllowed(type);
  if (parameters.watch) {
    const show = (object: ApiObject): unknown => present(type, object, shown, now());
    serveWatch(store.storage, response, {
      type,
      namespace: path.namespace,
      filter,
      parameters,
      show,
      contentType: contentType(shown),
    });
    return undefined;
  }
  const list = listObjects(store.storage, type, path.namespace, filter, parameters);
  return {
    status: 200,
    body: presentList(type, list, listBody(type, list), shown, now()),
    contentType: contentType(shown),
    warnings,
  };
}

/** Parameters of a deletion come in the body, or in the query. */
function deleteOptions({ query, body }: ApiRequest): DeleteOptions {
  const given = isRecord(body) ? body : {};
  const options: DeleteOptions = {};
  const grace = given.gracePeriodSeconds ?? query.get('gracePeriodSeconds');
  if (grace !== undefined && grace !== null && grace !== '') {
    const seconds = Number(grace);
    if (!Number.isInteger(seconds) || seconds < 0)
      throw badRequest(`gracePeriodSeconds: Invalid value: ${String(grace)}: must be a non-negative integer`);
    options.gracePeriodSeconds = seconds;
  }
  const policy =
    given.propagationPolicy ??
    query.get('propagationPolicy') ??
    (given.orphanDependents === true ? 'Orphan' : undefined);
  if (policy !== undefined && policy !== null && policy !== '') {
    if (policy !== 'Background' && policy !== 'Foreground' && policy !== 'Orphan')
      throw badRequest(
        `propagationPolicy: Unsupported value: ${String(policy)}: supported values: "Background", "Foreground", "Orphan"`,
      );
    options.propagationPolicy = policy;
  }
  if (isRecord(given.preconditions)) options.preconditions = given.preconditions;
  if ((Array.isArray(given.dryRun) && given.dryRun.includes('All')) || query.get('dryRun') === 'All')
    options.dryRun = true;
  return options;
}

/** A scheduler gives a pod its node: once. */
function bind(store: Store, type: ResourceType, path: ResourcePath, body: unknown, options: WriteOptions): void {
  const node = stringAt(body, 'target', 'name');
  if (node === '') throw badRequest('binding: target.name: Required value: the name of the node');
  store.bind(type, path.namespace, path.name, node, options);
}
