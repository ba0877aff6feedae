/** The table of built-in resources: what is served, under which names, with which schema, columns and behaviour. */
import { builtinSchema } from './builtin-schemas.ts';
import { columnsOf } from './columns.ts';
import { strategyOf } from './strategies/index.ts';
import type { ResourceType } from './types.ts';

interface Row {
  group: string;
  version?: string;
  kind: string;
  plural: string;
  singular?: string;
  short?: readonly string[];
  /** Cluster-scoped unless `namespaced`. */
  namespaced?: boolean;
  subresources?: readonly string[];
  generations?: boolean;
  model?: string;
  all?: boolean;
}

const core = '';
const rows: readonly Row[] = [
  { group: core, kind: 'Namespace', plural: 'namespaces', short: ['ns'], subresources: ['status', 'finalize'] },
  {
    group: core,
    kind: 'Pod',
    plural: 'pods',
    short: ['po'],
    namespaced: true,
    subresources: ['status', 'binding'],
    generations: true,
    all: true,
  },
  {
    group: core,
    kind: 'Service',
    plural: 'services',
    short: ['svc'],
    namespaced: true,
    subresources: ['status'],
    all: true,
  },
  { group: core, kind: 'Endpoints', plural: 'endpoints', singular: 'endpoints', short: ['ep'], namespaced: true },
  { group: core, kind: 'Node', plural: 'nodes', short: ['no'], subresources: ['status'] },
  { group: core, kind: 'ConfigMap', plural: 'configmaps', short: ['cm'], namespaced: true },
  { group: core, kind: 'Secret', plural: 'secrets', namespaced: true },
  { group: core, kind: 'ServiceAccount', plural: 'serviceaccounts', short: ['sa'], namespaced: true },
  { group: core, kind: 'Event', plural: 'events', short: ['ev'], namespaced: true, model: 'CoreV1Event' },
  { group: 'events.k8s.io', kind: 'Event', plural: 'events', short: ['ev'], namespaced: true, model: 'EventsV1Event' },
  { group: 'discovery.k8s.io', kind: 'EndpointSlice', plural: 'endpointslices', namespaced: true, generations: true },
  {
    group: 'networking.k8s.io',
    kind: 'NetworkPolicy',
    plural: 'networkpolicies',
    short: ['netpol'],
    namespaced: true,
    generations: true,
  },
  {
    group: 'networking.k8s.io',
    kind: 'Ingress',
    plural: 'ingresses',
    short: ['ing'],
    namespaced: true,
    subresources: ['status'],
    generations: true,
  },
  { group: 'networking.k8s.io', kind: 'IngressClass', plural: 'ingressclasses', generations: true },
  { group: 'coordination.k8s.io', kind: 'Lease', plural: 'leases', namespaced: true },
  {
    group: 'apiextensions.k8s.io',
    kind: 'CustomResourceDefinition',
    plural: 'customresourcedefinitions',
    short: ['crd', 'crds'],
    subresources: ['status'],
    generations: true,
  },
];

export function builtinResources(): ResourceType[] {
  return rows.map((row) => ({
    group: row.group,
    version: row.version ?? 'v1',
    kind: row.kind,
    listKind: `${row.kind}List`,
    plural: row.plural,
    singular: row.singular ?? row.kind.toLowerCase(),
    shortNames: row.short ?? [],
    categories: row.all ? ['all'] : row.group === 'apiextensions.k8s.io' ? ['api-extensions'] : [],
    namespaced: row.namespaced ?? false,
    subresources: row.subresources ?? [],
    generations: row.generations ?? false,
    custom: false,
    storageKey: `${row.group}/${row.plural}`,
    schema: builtinSchema(row.model ?? `V1${row.kind}`),
    columns: columnsOf(row.model ?? row.kind),
    strategy: strategyOf(row.kind),
  }));
}
