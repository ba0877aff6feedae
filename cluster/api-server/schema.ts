/**
 * Structural schemas (the openAPIV3Schema of a CustomResourceDefinition) and what is done with them: validation,
 * unknown fields, defaults.
 *
 * - Schemas of built-in kinds form a graph with cycles; `model` names the node so that it can be printed as a `$ref`.
 * - A schema without `properties`, `additionalProperties` and `items` says nothing about what is inside.
 */
import { invalidValue, notSupported, required, shown } from './errors.ts';
import { type Cause, isRecord, type JsonRecord } from './types.ts';

export interface Schema {
  /** Name of the definition in OpenAPI documents, for shared nodes. */
  readonly model?: string;
  type?: string;
  format?: string;
  description?: string;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  items?: Schema;
  required?: readonly string[];
  enum?: readonly unknown[];
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
  minProperties?: number;
  maxProperties?: number;
  oneOf?: readonly Schema[];
  anyOf?: readonly Schema[];
  allOf?: readonly Schema[];
  not?: Schema;
  nullable?: boolean;
  default?: unknown;
  'x-kubernetes-int-or-string'?: boolean;
  'x-kubernetes-preserve-unknown-fields'?: boolean;
  'x-kubernetes-embedded-resource'?: boolean;
  'x-kubernetes-list-type'?: string;
  'x-kubernetes-list-map-keys'?: readonly string[];
  'x-kubernetes-map-type'?: string;
  'x-kubernetes-validations'?: readonly { rule: string; message?: string }[];
  'x-kubernetes-patch-merge-key'?: string;
  'x-kubernetes-patch-strategy'?: string;
}

const join = (path: string, key: string): string => (path === '' ? key : `${path}.${key}`);

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value;
}

function hasType(schema: Schema, value: unknown): boolean {
  if (schema['x-kubernetes-int-or-string']) return typeof value === 'string' || typeof value === 'number';
  if (schema.type === undefined) return true;
  const actual = typeOf(value);
  return actual === schema.type || (schema.type === 'number' && actual === 'integer');
}

const expectedType = (schema: Schema): string =>
  schema['x-kubernetes-int-or-string'] ? 'integer or string' : (schema.type ?? 'any');

/** Every violation of `schema`, with paths. Unknown fields are not violations here; see `unknownFields`. */
export function violations(schema: Schema, value: unknown, path = ''): Cause[] {
  if (value === undefined) return [];
  if (value === null && (schema.nullable || schema.type === undefined)) return [];
  if (!hasType(schema, value)) {
    return [
      {
        ...invalidValue(
          path,
          typeOf(value),
          `${path} in body must be of type ${expectedType(schema)}: ${shown(value)}`,
        ),
        reason: 'FieldValueTypeInvalid',
      },
    ];
  }
  const causes: Cause[] = [];
  if (schema.enum && !schema.enum.includes(value)) causes.push(notSupported(path, value, schema.enum));
  if (typeof value === 'string') causes.push(...stringViolations(schema, value, path));
  if (typeof value === 'number') causes.push(...numberViolations(schema, value, path));
  if (Array.isArray(value)) causes.push(...arrayViolations(schema, value, path));
  else if (isRecord(value)) causes.push(...objectViolations(schema, value, path));
  causes.push(...combinedViolations(schema, value, path));
  return causes;
}

function stringViolations(schema: Schema, value: string, path: string): Cause[] {
  const causes: Cause[] = [];
  const length = [...value].length;
  if (schema.maxLength !== undefined && length > schema.maxLength)
    causes.push(invalidValue(path, value, `must be at most ${schema.maxLength} characters long`));
  if (schema.minLength !== undefined && length < schema.minLength)
    causes.push(invalidValue(path, value, `must be at least ${schema.minLength} characters long`));
  // A pattern may backtrack: it never sees what is too long anyway.
  if (causes.length === 0 && schema.pattern !== undefined && !patternOf(schema.pattern).test(value))
    causes.push(invalidValue(path, value, `${path} in body should match '${schema.pattern}'`));
  if (schema.format === 'date-time' && Number.isNaN(Date.parse(value)))
    causes.push(invalidValue(path, value, 'must be an RFC 3339 date and time'));
  return causes;
}

const patterns = new Map<string, RegExp>();
/** Patterns are RE2; what JavaScript cannot compile (`\z`, inline flags) accepts everything rather than refusing all. */
function patternOf(pattern: string): RegExp {
  let compiled = patterns.get(pattern);
  if (!compiled) {
    try {
      compiled = new RegExp(pattern, 'u');
    } catch {
      compiled = /^/;
    }
    patterns.set(pattern, compiled);
  }
  return compiled;
}

function numberViolations(schema: Schema, value: number, path: string): Cause[] {
  const causes: Cause[] = [];
  if (schema.minimum !== undefined && value < schema.minimum)
    causes.push(invalidValue(path, value, `${path} in body should be greater than or equal to ${schema.minimum}`));
  if (schema.maximum !== undefined && value > schema.maximum)
    causes.push(invalidValue(path, value, `${path} in body should be less than or equal to ${schema.maximum}`));
  if (schema.format === 'int32' && (value < -(2 ** 31) || value >= 2 ** 31))
    causes.push(invalidValue(path, value, 'must fit in 32 bits'));
  return causes;
}

function arrayViolations(schema: Schema, value: readonly unknown[], path: string): Cause[] {
  const causes: Cause[] = [];
  if (schema.maxItems !== undefined && value.length > schema.maxItems)
    causes.push(invalidValue(path, value.length, `${path} in body should have at most ${schema.maxItems} items`));
  if (schema.minItems !== undefined && value.length < schema.minItems)
    causes.push(invalidValue(path, value.length, `${path} in body should have at least ${schema.minItems} items`));
  const items = schema.items;
  if (items) value.forEach((item, i) => causes.push(...violations(items, item, `${path}[${i}]`)));
  if (
    schema['x-kubernetes-list-type'] === 'set' &&
    new Set(value.map((item) => JSON.stringify(item))).size < value.length
  ) {
    causes.push({ reason: 'FieldValueDuplicate', message: `Duplicate value: ${shown(value)}`, field: path });
  }
  return causes;
}

function objectViolations(schema: Schema, value: JsonRecord, path: string): Cause[] {
  const causes: Cause[] = [];
  for (const name of schema.required ?? []) if (value[name] === undefined) causes.push(required(join(path, name)));
  const count = Object.keys(value).length;
  if (schema.maxProperties !== undefined && count > schema.maxProperties)
    causes.push(invalidValue(path, count, `must have at most ${schema.maxProperties} properties`));
  if (schema.minProperties !== undefined && count < schema.minProperties)
    causes.push(invalidValue(path, count, `must have at least ${schema.minProperties} properties`));
  for (const [key, inner] of Object.entries(value)) {
    const property = schema.properties?.[key];
    if (property) causes.push(...violations(property, inner, join(path, key)));
    else if (typeof schema.additionalProperties === 'object')
      causes.push(...violations(schema.additionalProperties, inner, join(path, key)));
  }
  return causes;
}

function combinedViolations(schema: Schema, value: unknown, path: string): Cause[] {
  const causes: Cause[] = [];
  for (const all of schema.allOf ?? []) causes.push(...violations(all, value, path));
  const fits = (option: Schema): boolean => violations(option, value, path).length === 0;
  if (schema.anyOf && !schema.anyOf.some(fits))
    causes.push(invalidValue(path, value, `must validate at least one schema (anyOf): ${alternatives(schema.anyOf)}`));
  if (schema.oneOf) {
    const fitting = schema.oneOf.filter(fits).length;
    if (fitting !== 1)
      causes.push(
        invalidValue(
          path,
          value,
          `must validate one and only one schema (oneOf), ${fitting} fit: ${alternatives(schema.oneOf)}`,
        ),
      );
  }
  if (schema.not && fits(schema.not))
    causes.push(invalidValue(path, value, `must not validate the schema (not): ${shown(schema.not)}`));
  return causes;
}

const alternatives = (schemas: readonly Schema[]): string =>
  schemas.map((schema) => (schema.required ? `{${schema.required.join(', ')}}` : shown(schema))).join(' or ');

/** Paths of fields that the schema does not know. With `prune` they are removed from `value`. */
export function unknownFields(schema: Schema, value: unknown, prune: boolean, path = ''): string[] {
  if (Array.isArray(value)) {
    const items = schema.items;
    return items ? value.flatMap((item, i) => unknownFields(items, item, prune, `${path}[${i}]`)) : [];
  }
  if (!isRecord(value)) return [];
  const closed =
    schema.properties !== undefined &&
    schema.additionalProperties === undefined &&
    !schema['x-kubernetes-preserve-unknown-fields'];
  const unknown: string[] = [];
  for (const [key, inner] of Object.entries(value)) {
    const property =
      schema.properties?.[key] ??
      (typeof schema.additionalProperties === 'object' ? schema.additionalProperties : undefined);
    if (property) unknown.push(...unknownFields(property, inner, prune, join(path, key)));
    else if (
      closed &&
      !(schema['x-kubernetes-embedded-resource'] && ['apiVersion', 'kind', 'metadata'].includes(key))
    ) {
      unknown.push(join(path, key));
      if (prune) delete value[key];
    }
  }
  return unknown;
}

/** Fills `default`s of the schema into objects that are present. */
export function applyDefaults(schema: Schema, value: unknown): void {
  if (Array.isArray(value)) {
    if (schema.items) for (const item of value) applyDefaults(schema.items, item);
    return;
  }
  if (!isRecord(value)) return;
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    if (value[key] === undefined && property.default !== undefined) value[key] = structuredClone(property.default);
    if (value[key] !== undefined) applyDefaults(property, value[key]);
  }
  if (typeof schema.additionalProperties === 'object')
    for (const key of Object.keys(value))
      if (!schema.properties?.[key]) applyDefaults(schema.additionalProperties, value[key]);
}
