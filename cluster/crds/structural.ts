/**
 * From a TypeBox schema to the structural OpenAPI v3 schema that a CustomResourceDefinition may carry.
 *
 * - `const` and unions of constants become `enum`; records become `additionalProperties`; unknown values are preserved.
 */
import type { TSchema } from 'typebox';
import type { Schema } from '../api-server/schema.ts';

interface JsonSchema {
  [keyword: string]: unknown;
  type?: string;
  const?: unknown;
  enum?: unknown[];
  anyOf?: JsonSchema[];
  properties?: Record<string, JsonSchema>;
  patternProperties?: Record<string, JsonSchema>;
  additionalProperties?: JsonSchema | boolean;
  items?: JsonSchema;
}

export function structural(schema: TSchema): Schema {
  return convert(JSON.parse(JSON.stringify(schema)) as JsonSchema) as Schema;
}

function convert(schema: JsonSchema): JsonSchema {
  const { const: constant, patternProperties, properties, items, additionalProperties, anyOf, ...rest } = schema;
  const constants = anyOf?.every((option) => option.const !== undefined)
    ? anyOf.map((option) => option.const)
    : undefined;
  const result: JsonSchema = { ...rest };
  if (constant !== undefined) Object.assign(result, { enum: [constant] });
  if (constants) Object.assign(result, { enum: constants });
  else if (anyOf) result.anyOf = anyOf;
  if (Array.isArray(result.enum) && result.type === undefined)
    result.type = typeof result.enum[0] === 'number' ? 'integer' : 'string';
  if (patternProperties) {
    result.type = 'object';
    result.additionalProperties = convert(Object.values(patternProperties)[0] ?? {});
  } else if (typeof additionalProperties === 'object') result.additionalProperties = convert(additionalProperties);
  if (properties)
    result.properties = Object.fromEntries(
      Object.entries(properties).map(([name, property]) => [name, convert(property)]),
    );
  if (items) result.items = convert(items);
  if (Object.keys(schema).length === 0) result['x-kubernetes-preserve-unknown-fields'] = true;
  return result;
}
