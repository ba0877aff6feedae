/**
 * The OpenAPI v2 document in the protobuf form (gnostic's `openapi_v2.Document`) that older kubectl reads.
 *
 * Field numbers are those of gnostic's OpenAPIv2.proto.
 */
import { definitionsOf, groupVersionKind, objectPath, patchParameters } from './openapi-definitions.ts';
import { message, numberField, type Part, textField } from './protobuf.ts';
import { isRecord, type JsonRecord, type ResourceType } from './types.ts';

const prefix = '#/definitions/';

export function openApiV2Json(types: readonly ResourceType[], version: string): JsonRecord {
  const paths = Object.fromEntries(
    types.map((type) => [
      objectPath(type),
      {
        patch: {
          parameters: patchParameters.map((name) => ({ name, in: 'query', type: 'string', uniqueItems: true })),
          responses: {},
          'x-kubernetes-group-version-kind': groupVersionKind(type),
        },
      },
    ]),
  );
  return {
    swagger: '2.0',
    info: { title: 'Kubernetes', version },
    paths,
    definitions: Object.fromEntries(definitionsOf(types, prefix)),
  };
}

export function openApiV2Protobuf(types: readonly ResourceType[], version: string): Buffer {
  return Buffer.concat([
    textField(1, '2.0'),
    message(2, textField(1, 'Kubernetes'), textField(2, version)),
    message(
      8,
      ...types.map((type) => message(2, textField(1, objectPath(type)), message(2, message(8, operation(type))))),
    ),
    message(9, ...[...definitionsOf(types, prefix)].map(([name, definition]) => named(1, name, definition))),
  ]);
}

/** Parameter → non-body → query, three wrappers deep. */
function operation(type: ResourceType): Part {
  const parameters = patchParameters.map((name) =>
    message(8, message(1, message(2, message(3, textField(3, 'query'), textField(4, name), textField(6, 'string'))))),
  );
  return Buffer.concat([...parameters, extension(13, 'x-kubernetes-group-version-kind', groupVersionKind(type))]);
}

const named = (field: number, name: string, schema: unknown): Part =>
  message(field, textField(1, name), message(2, schemaPart(schema)));

const extension = (field: number, name: string, value: unknown): Part =>
  message(field, textField(1, name), message(2, textField(2, JSON.stringify(value))));

/** What kubectl uses of a schema: structure, descriptions, and how lists merge. */
function schemaPart(schema: unknown): Part {
  if (!isRecord(schema)) return Buffer.alloc(0);
  const parts: Part[] = [];
  const text = (field: number, value: unknown): void => {
    if (typeof value === 'string' && value !== '') parts.push(textField(field, value));
  };
  text(1, schema.$ref);
  text(2, schema.format);
  text(4, schema.description);
  for (const name of Array.isArray(schema.required) ? schema.required : []) text(19, name);
  if (isRecord(schema.additionalProperties))
    parts.push(message(21, message(1, schemaPart(schema.additionalProperties))));
  else if (schema.additionalProperties === true) parts.push(message(21, numberField(2, 1)));
  if (typeof schema.type === 'string') parts.push(message(22, textField(1, schema.type)));
  if (isRecord(schema.items)) parts.push(message(23, message(1, schemaPart(schema.items))));
  if (isRecord(schema.properties))
    parts.push(message(25, ...Object.entries(schema.properties).map(([name, property]) => named(1, name, property))));
  for (const [name, value] of Object.entries(schema))
    if (name.startsWith('x-kubernetes-')) parts.push(extension(31, name, value));
  return Buffer.concat(parts);
}
