/** OpenAPI documents, made when they are asked for and kept until the set of resources changes. */
import { createHash } from 'node:crypto';
import { groupVersionPath, kubernetesVersion } from './discovery.ts';
import { definitionsOf, groupVersionKind, objectPath, patchParameters } from './openapi-definitions.ts';
import { openApiV2Json, openApiV2Protobuf } from './openapi-v2.ts';
import type { Registry } from './registry.ts';
import type { JsonRecord, ResourceType } from './types.ts';

export interface Document {
  body: Buffer;
  contentType: string;
}

/** Undefined: no such document. */
export type OpenApi = (path: string, accept: string) => Document | undefined;

/** Asked for with `@v1.0`, which is no legal media type and which Go's parser refuses in answers. */
const v2Protobuf = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';

export function createOpenApi(registry: Registry): OpenApi {
  const made = new Map<string, Document>();
  registry.onChange(() => made.clear());
  const version = kubernetesVersion.gitVersion;
  const once = (key: string, contentType: string, make: () => Buffer): Document => {
    let document = made.get(key);
    if (!document) {
      document = { body: make(), contentType };
      made.set(key, document);
    }
    return document;
  };
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
  return (path, accept) => {
    if (path === '/openapi/v2') {
      if (accept.includes('com.github.proto-openapi.spec.v2'))
        return once('v2 protobuf', v2Protobuf, () => openApiV2Protobuf(registry.all(), version));
      return once('v2 json', 'application/json', () => json(openApiV2Json(registry.all(), version)));
    }
    if (path === '/openapi/v3') return once('v3', 'application/json', () => json(index(registry)));
    const wanted = /^\/openapi\/v3\/(.+)$/.exec(path)?.[1];
    const types = registry.all().filter((type) => groupVersionPath(type) === wanted);
    return wanted === undefined || types.length === 0
      ? undefined
      : once(wanted, 'application/json', () => json(openApiV3(types, version)));
  };
}

/** Clients keep a document for as long as its hash in the index stays. */
function index(registry: Registry): JsonRecord {
  const paths = [...new Set(registry.all().map(groupVersionPath))];
  const entry = (path: string): JsonRecord => {
    const types = registry.all().filter((type) => groupVersionPath(type) === path);
    const hash = createHash('sha256').update(
      JSON.stringify(types.map((type) => [type.plural, type.custom ? type.schema : ''])),
    );
    return { serverRelativeURL: `/openapi/v3/${path}?hash=${hash.digest('hex').slice(0, 32).toUpperCase()}` };
  };
  return { paths: Object.fromEntries(paths.map((path) => [path, entry(path)])) };
}

function openApiV3(types: readonly ResourceType[], version: string): JsonRecord {
  const operation = (type: ResourceType, action: string, parameters: readonly string[]): JsonRecord => ({
    parameters: parameters.map((name) => ({ name, in: 'query', schema: { type: 'string', uniqueItems: true } })),
    responses: { 200: { description: 'OK' } },
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': groupVersionKind(type),
  });
  const paths = types.flatMap((type) => [
    [
      objectPath(type).replace(/\/\{name\}$/, ''),
      { get: operation(type, 'list', []), post: operation(type, 'post', patchParameters) },
    ],
    [
      objectPath(type),
      {
        get: operation(type, 'get', []),
        put: operation(type, 'put', patchParameters),
        patch: operation(type, 'patch', patchParameters),
      },
    ],
  ]);
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version },
    paths: Object.fromEntries(paths),
    components: { schemas: Object.fromEntries(definitionsOf(types, '#/components/schemas/')) },
  };
}
