/** What the server says it serves: /api, /apis and below, in the old form and in the aggregated one; /version. */
import type { Registry } from './registry.ts';
import { apiVersionOf, type JsonRecord, type ResourceType } from './types.ts';

/** The API level that this server follows. */
export const kubernetesVersion = { major: '1', minor: '32', gitVersion: 'v1.32.0+axoneme' };

export function versionInfo(): JsonRecord {
  return {
    ...kubernetesVersion,
    gitCommit: '',
    gitTreeState: 'clean',
    buildDate: '1970-01-01T00:00:00Z',
    goVersion: 'none',
    compiler: `node ${process.version}`,
    platform: `${process.platform}/${process.arch}`,
  };
}

const verbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

/** Verbs of a subresource: a binding can only be created. */
const subresourceVerbs = (name: string): string[] =>
  name === 'binding' ? ['create'] : name === 'finalize' ? ['update'] : ['get', 'patch', 'update'];

/** `/apis`, or undefined if the path is none of discovery. */
export function discovery(
  registry: Registry,
  path: string,
  accept: string,
): { body: JsonRecord; contentType: string } | undefined {
  const plain = (body: JsonRecord): { body: JsonRecord; contentType: string } => ({
    body,
    contentType: 'application/json',
  });
  const parts = path.split('/').filter((part) => part !== '');
  if (parts[0] === 'api' && parts.length <= 2) {
    if (parts.length === 1)
      return (
        aggregated(registry, accept, true) ??
        plain({ kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] })
      );
    return parts[1] === 'v1' ? plain(resourceList(registry, '', 'v1')) : undefined;
  }
  if (parts[0] !== 'apis' || parts.length > 3) return undefined;
  const groups = registry.groups().filter(({ group }) => group !== '');
  const [, group = '', version = ''] = parts;
  if (group === '')
    return (
      aggregated(registry, accept, false) ??
      plain({ kind: 'APIGroupList', apiVersion: 'v1', groups: groups.map(apiGroup) })
    );
  const found = groups.find((candidate) => candidate.group === group);
  if (!found) return undefined;
  if (version === '') return plain({ kind: 'APIGroup', apiVersion: 'v1', ...apiGroup(found) });
  return found.versions.includes(version) ? plain(resourceList(registry, group, version)) : undefined;
}

function apiGroup({ group, versions }: { group: string; versions: readonly string[] }): JsonRecord {
  const all = versions.map((version) => ({ groupVersion: `${group}/${version}`, version }));
  return { name: group, versions: all, preferredVersion: all[0] };
}

function resourceList(registry: Registry, group: string, version: string): JsonRecord {
  const resources = registry.ofGroupVersion(group, version).flatMap((type) => [
    {
      name: type.plural,
      singularName: type.singular,
      namespaced: type.namespaced,
      kind: type.kind,
      verbs,
      shortNames: type.shortNames,
      categories: type.categories,
    },
    ...type.subresources.map((name) => ({
      name: `${type.plural}/${name}`,
      singularName: '',
      namespaced: type.namespaced,
      kind: subresourceKind(type, name),
      verbs: subresourceVerbs(name),
    })),
  ]);
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: group === '' ? version : `${group}/${version}`,
    resources,
  };
}

const subresourceKind = (type: ResourceType, name: string): string => (name === 'binding' ? 'Binding' : type.kind);

/** One document for all groups, for clients that know it (kubectl 1.27 and later). */
function aggregated(
  registry: Registry,
  accept: string,
  legacy: boolean,
): { body: JsonRecord; contentType: string } | undefined {
  const version = /g=apidiscovery\.k8s\.io;v=(v2beta1|v2);as=APIGroupDiscoveryList/.exec(accept)?.[1];
  if (version === undefined) return undefined;
  const items = registry
    .groups()
    .filter(({ group }) => (group === '') === legacy)
    .map(({ group, versions }) => ({
      metadata: { ...(group === '' ? {} : { name: group }), creationTimestamp: null },
      versions: versions.map((name) => ({
        version: name,
        freshness: 'Current',
        resources: registry.ofGroupVersion(group, name).map(discovered),
      })),
    }));
  return {
    body: { kind: 'APIGroupDiscoveryList', apiVersion: `apidiscovery.k8s.io/${version}`, metadata: {}, items },
    contentType: `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`,
  };
}

function discovered(type: ResourceType): JsonRecord {
  const kind = { group: type.group, version: type.version, kind: type.kind };
  return {
    resource: type.plural,
    responseKind: kind,
    scope: type.namespaced ? 'Namespaced' : 'Cluster',
    singularResource: type.singular,
    verbs,
    ...(type.shortNames.length > 0 ? { shortNames: type.shortNames } : {}),
    ...(type.categories.length > 0 ? { categories: type.categories } : {}),
    ...(type.subresources.length > 0
      ? {
          subresources: type.subresources.map((name) => ({
            subresource: name,
            responseKind: { ...kind, kind: subresourceKind(type, name) },
            verbs: subresourceVerbs(name),
          })),
        }
      : {}),
  };
}

export const groupVersionPath = (type: ResourceType): string =>
  type.group === '' ? `api/${type.version}` : `apis/${apiVersionOf(type)}`;
