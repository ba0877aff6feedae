/** How a CustomResourceDefinition of the cilium.io group is declared here, and the object that it becomes. */
import type { TSchema } from 'typebox';
import type { PrinterColumn } from '../api-server/custom-resources.ts';
import { structural } from './structural.ts';

export const group = 'cilium.io';
/** The schema level that other tools compare: that of Cilium 1.20. */
export const schemaVersion = '1.33.11';

export interface CrdVersion {
  name: string;
  /** The object without apiVersion, kind and metadata. */
  schema: TSchema;
  columns?: readonly PrinterColumn[];
}

export interface Crd {
  kind: string;
  plural: string;
  shortNames?: readonly string[];
  /** Besides `cilium`. */
  categories?: readonly string[];
  scope: 'Namespaced' | 'Cluster';
  status?: boolean;
  /** The first one is stored. */
  versions: readonly CrdVersion[];
}

export interface CrdObject {
  apiVersion: 'apiextensions.k8s.io/v1';
  kind: 'CustomResourceDefinition';
  metadata: { name: string; labels: Record<string, string> };
  spec: Record<string, unknown>;
}

export const age: PrinterColumn = { jsonPath: '.metadata.creationTimestamp', name: 'Age', type: 'date' };

export function crdObject(crd: Crd): CrdObject {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${crd.plural}.${group}`, labels: { 'io.cilium.k8s.crd.schema.version': schemaVersion } },
    spec: {
      group,
      names: {
        categories: ['cilium', ...(crd.categories ?? [])],
        kind: crd.kind,
        listKind: `${crd.kind}List`,
        plural: crd.plural,
        ...(crd.shortNames ? { shortNames: [...crd.shortNames] } : {}),
        singular: crd.kind.toLowerCase(),
      },
      scope: crd.scope,
      versions: crd.versions.map((version, i) => ({
        ...(version.columns ? { additionalPrinterColumns: [...version.columns] } : {}),
        name: version.name,
        schema: { openAPIV3Schema: withMeta(structural(version.schema)) },
        served: true,
        storage: i === 0,
        ...(crd.status ? { subresources: { status: {} } } : {}),
      })),
    },
  };
}

function withMeta(schema: ReturnType<typeof structural>): object {
  const properties = {
    apiVersion: { type: 'string' },
    kind: { type: 'string' },
    metadata: { type: 'object' },
    ...schema.properties,
  };
  return { ...schema, properties, required: ['metadata', ...(schema.required ?? [])] };
}
