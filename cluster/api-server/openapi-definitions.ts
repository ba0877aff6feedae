/** Schemas of all resources as OpenAPI definitions that refer to each other by name. */
import type { Schema } from './schema.ts';
import type { JsonRecord, ResourceType } from './types.ts';

export type Definitions = Map<string, JsonRecord>;

/** `prefix` is what references start with: `#/definitions/` or `#/components/schemas/`. */
export function definitionsOf(types: readonly ResourceType[], prefix: string): Definitions {
  const definitions: Definitions = new Map();
  const define = (schema: Schema, name: string): void => {
    if (definitions.has(name)) return;
    const definition: JsonRecord = {};
    definitions.set(name, definition);
    Object.assign(definition, body(schema));
  };
  const print = (schema: Schema): JsonRecord => {
    if (schema.model === undefined) return body(schema);
    define(schema, schema.model);
    const reference = { $ref: prefix + schema.model };
    // Version 3 keeps a description beside a reference only if the reference is wrapped.
    return schema.description === undefined || prefix === '#/definitions/'
      ? reference
      : { description: schema.description, allOf: [reference], default: {} };
  };
  const body = (schema: Schema): JsonRecord => {
    const {
      model: _model,
      properties,
      additionalProperties,
      items,
      required,
      oneOf,
      anyOf,
      allOf,
      not,
      ...rest
    } = schema;
    const printed: JsonRecord = { ...rest };
    if (properties)
      printed.properties = Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, print(value)]));
    if (additionalProperties !== undefined)
      printed.additionalProperties =
        typeof additionalProperties === 'object' ? print(additionalProperties) : additionalProperties;
    if (items) printed.items = print(items);
    if (required && required.length > 0) printed.required = required;
    for (const [word, schemas] of [
      ['oneOf', oneOf],
      ['anyOf', anyOf],
      ['allOf', allOf],
    ] as const)
      if (schemas) printed[word] = schemas.map(print);
    if (not) printed.not = print(not);
    if (schema['x-kubernetes-int-or-string']) Object.assign(printed, { type: 'string', format: 'int-or-string' });
    return printed;
  };
  for (const type of types) {
    const name = type.schema.model ?? type.kind;
    define(type.schema, name);
    const definition = definitions.get(name);
    if (definition) definition['x-kubernetes-group-version-kind'] = [groupVersionKind(type)];
  }
  return definitions;
}

export const groupVersionKind = ({ group, version, kind }: ResourceType): JsonRecord => ({ group, version, kind });

/** The query parameters that clients look for before they send them. */
export const patchParameters = ['dryRun', 'fieldManager', 'fieldValidation', 'force'];

export function objectPath(type: ResourceType): string {
  const base = type.group === '' ? `/api/${type.version}` : `/apis/${type.group}/${type.version}`;
  return `${base}${type.namespaced ? '/namespaces/{namespace}' : ''}/${type.plural}/{name}`;
}
