/** CustomResourceDefinitions become resource types: one for each served version, with schema and printer columns. */

import { builtinSchema } from './builtin-schemas.ts';
import { age, ageColumn } from './columns-shared.ts';
import { readPath } from './json-path.ts';
import type { Schema } from './schema.ts';
import type { ApiObject, Column, JsonRecord, ResourceType } from './types.ts';

/** The spec of a CustomResourceDefinition, as far as the server acts on it. */
export interface DefinitionSpec {
  group: string;
  scope: 'Namespaced' | 'Cluster';
  names: {
    kind: string;
    plural: string;
    singular?: string;
    listKind?: string;
    shortNames?: string[];
    categories?: string[];
  };
  versions: DefinitionVersion[];
}

export interface DefinitionVersion {
  name: string;
  served: boolean;
  storage: boolean;
  schema?: { openAPIV3Schema?: Schema };
  subresources?: { status?: JsonRecord; scale?: JsonRecord };
  additionalPrinterColumns?: PrinterColumn[];
}

export interface PrinterColumn {
  name: string;
  type: Column['type'];
  format?: string;
  description?: string;
  priority?: number;
  jsonPath: string;
}

export function customResourceTypes(definition: ApiObject): ResourceType[] {
  const spec = definition.spec as DefinitionSpec;
  const { kind, plural } = spec.names;
  return spec.versions
    .filter((version) => version.served)
    .map((version) => ({
      group: spec.group,
      version: version.name,
      kind,
      listKind: spec.names.listKind ?? `${kind}List`,
      plural,
      singular: spec.names.singular ?? kind.toLowerCase(),
      shortNames: spec.names.shortNames ?? [],
      categories: spec.names.categories ?? [],
      namespaced: spec.scope === 'Namespaced',
      subresources: version.subresources?.status ? ['status'] : [],
      generations: true,
      custom: true,
      storageKey: `${spec.group}/${plural}`,
      schema: withObjectFields(
        version.schema?.openAPIV3Schema ?? { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
        `${spec.group}.${version.name}.${kind}`,
      ),
      columns: printerColumns(version.additionalPrinterColumns),
      strategy: {},
    }));
}

/** apiVersion, kind and metadata are always there, whatever the schema says of them. */
function withObjectFields(schema: Schema, model: string): Schema {
  const properties = {
    apiVersion: { type: 'string' },
    kind: { type: 'string' },
    ...schema.properties,
    metadata: builtinSchema('V1ObjectMeta'),
  };
  return { ...schema, model, properties };
}

function printerColumns(columns: readonly PrinterColumn[] | undefined): Column[] {
  const name: Column = {
    name: 'Name',
    type: 'string',
    format: 'name',
    priority: 0,
    value: (object) => object.metadata.name,
  };
  if (!columns || columns.length === 0) return [name, ageColumn];
  return [
    name,
    ...columns.map(
      (column): Column => ({
        name: column.name,
        type: column.type,
        ...(column.format ? { format: column.format } : {}),
        ...(column.description ? { description: column.description } : {}),
        priority: column.priority ?? 0,
        value: (object, now) => cell(column, object, now),
      }),
    ),
  ];
}

/** A path that finds nothing prints as nothing; several finds print the first, as the real server does. */
function cell(column: PrinterColumn, object: ApiObject, now: number): unknown {
  const found = readPath(column.jsonPath, object);
  const value = found[0];
  if (value === undefined || value === null) return null;
  if (column.type === 'date') return age(String(value), now);
  if (column.type === 'string') return typeof value === 'string' ? value : JSON.stringify(value);
  return value;
}
