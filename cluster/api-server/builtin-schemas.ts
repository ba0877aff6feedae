/**
 * Schemas of the built-in kinds, read from the models of `@kubernetes/client-node`: field names and types from their
 * attribute maps, descriptions and which fields are required from their type declarations.
 *
 * - `properties` and `required` of a model are shared by all who refer to it, and filled in place, so that cycles
 *   (JSONSchemaProps) close; `model` carries the OpenAPI name.
 * - How lists merge is not in the models: merge-keys.ts adds it.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as kubernetes from '@kubernetes/client-node';
import { listMerge } from './merge-keys.ts';
import type { Schema } from './schema.ts';

interface Attribute {
  baseName: string;
  type: string;
  format: string;
}

const models = kubernetes as unknown as Record<string, { attributeTypeMap?: Attribute[] }>;
const declarations = new URL('./gen/models/', import.meta.resolve('@kubernetes/client-node'));

/** Maps of quantities, and single quantities: strings in the models, but numbers are as good (`cpu: 1`). */
const quantityFields = new Set([
  'limits',
  'requests',
  'capacity',
  'allocatable',
  'overhead',
  'sizeLimit',
  'divisor',
  'default',
  'defaultRequest',
  'hard',
  'used',
]);

const known = new Map<string, Schema>();

/** The schema of a model such as `V1Pod`; the same node each time. */
export function builtinSchema(model: string): Schema {
  const found = known.get(model);
  if (found) return found;
  const attributes = models[model]?.attributeTypeMap;
  if (!attributes) throw new Error(`@kubernetes/client-node has no model ${model}`);
  const declared = declaration(model);
  const properties: Record<string, Schema> = {};
  const required: string[] = [];
  const schema: Schema = { model: openApiName(model), type: 'object', properties, required };
  known.set(model, schema);
  if (declared.description) schema.description = declared.description;
  for (const { baseName, type, format } of attributes) {
    const property = { ...typeSchema(type, format, quantityFields.has(baseName)), ...listMerge(model, baseName) };
    const field = declared.fields.get(baseName);
    if (field?.description) property.description = field.description;
    if (field?.required) required.push(baseName);
    properties[baseName] = property;
  }
  return schema;
}

const intOrString: Schema = { 'x-kubernetes-int-or-string': true };

function typeSchema(type: string, format: string, quantity: boolean): Schema {
  const list = /^Array<(.*)>$/.exec(type)?.[1];
  if (list) return { type: 'array', items: typeSchema(list, format, false) };
  const map = /^\{ \[key: string\]: (.*); \}$/.exec(type)?.[1];
  if (map) return { type: 'object', additionalProperties: typeSchema(map, format, quantity) };
  switch (type) {
    case 'string':
      if (quantity) return intOrString;
      return format === '' ? { type: 'string' } : { type: 'string', format };
    case 'boolean':
      return { type: 'boolean' };
    case 'number':
      return format.startsWith('int') ? { type: 'integer', format } : { type: 'number' };
    case 'Date':
    case 'V1MicroTime':
      return { type: 'string', format: 'date-time' };
    case 'IntOrString':
      return intOrString;
    case 'any':
      return { 'x-kubernetes-preserve-unknown-fields': true };
    default:
      return builtinSchema(type);
  }
}

interface Declaration {
  description: string;
  fields: Map<string, { required: boolean; description: string }>;
}

function declaration(model: string): Declaration {
  const text = readFileSync(fileURLToPath(new URL(`${model}.d.ts`, declarations)), 'utf8');
  const body = text.slice(text.indexOf(`export declare class ${model}`));
  const fields: Declaration['fields'] = new Map();
  for (const match of body.matchAll(/(?:\/\*\*\s*\n\s*\* ?(.*)\n\s*\*\/\n\s*)?'([^']+)'(\?)?: /g)) {
    fields.set(match[2] ?? '', { required: match[3] === undefined, description: plain(match[1]) });
  }
  const head = /\/\*\*\n\* ?(.*)\n\*\/\nexport declare class/.exec(text);
  return { description: plain(head?.[1]), fields };
}

/** The generator escapes quotes for JavaScript; a reader of `kubectl explain` should not see that. */
const plain = (text: string | undefined): string => (text ?? '').replaceAll("\\'", "'").replaceAll('\\"', '"').trim();

const groups: readonly (readonly [RegExp, string])[] = [
  [
    /^CustomResource|^JSONSchemaProps|^ValidationRule|^WebhookConversion|^ExternalDocumentation|^SelectableField$/,
    'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions',
  ],
  [
    /^(ObjectMeta|ListMeta|OwnerReference|ManagedFieldsEntry|LabelSelector|LabelSelectorRequirement|Condition|FieldSelectorRequirement|Status|StatusDetails|StatusCause|DeleteOptions|Preconditions)$/,
    'io.k8s.apimachinery.pkg.apis.meta',
  ],
  [/^(NetworkPolicy|Ingress|IPBlock|HTTPIngress|ServiceBackendPort)/, 'io.k8s.api.networking'],
  [/^(EndpointSlice|Endpoint$|EndpointConditions|EndpointHints|ForZone|ForNode)/, 'io.k8s.api.discovery'],
  [/^Lease/, 'io.k8s.api.coordination'],
];

/** `V1PodSpec` → `io.k8s.api.core.v1.PodSpec`, as real OpenAPI documents name it. */
function openApiName(model: string): string {
  const match = /^(Core|Discovery|Events|Apiextensions)?(V\d\w*?\d*)([A-Z].*)$/.exec(model);
  const [, owner, version = 'v1', name = model] = match ?? [];
  if (owner === 'Discovery') return `io.k8s.api.discovery.${version.toLowerCase()}.${name}`;
  if (owner === 'Events') return `io.k8s.api.events.${version.toLowerCase()}.${name}`;
  if (owner === 'Apiextensions')
    return `io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.${version.toLowerCase()}.${name}`;
  const group = owner === 'Core' ? undefined : groups.find(([pattern]) => pattern.test(name))?.[1];
  return `${group ?? 'io.k8s.api.core'}.${version.toLowerCase()}.${name}`;
}
