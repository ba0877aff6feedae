/**
 * Manifests for questions about policy: every document of a directory, whatever is in it.
 *
 * - What cannot be read as an object is an error of the whole: a policy that was silently left out would open what it closes.
 * - Kinds that policy does not ask about are left out, and said.
 */
import type { KubeObject } from '../../cluster/events.ts';
import { readManifests } from '../up/manifests.ts';

/** Kinds that matter, and the API group of each: others have a NetworkPolicy of their own. */
const asked: ReadonlyMap<string, string> = new Map([
  ['Namespace', ''],
  ['Pod', ''],
  ['Node', ''],
  ['Service', ''],
  ['EndpointSlice', 'discovery.k8s.io'],
  ['NetworkPolicy', 'networking.k8s.io'],
  ['CiliumNetworkPolicy', 'cilium.io'],
  ['CiliumClusterwideNetworkPolicy', 'cilium.io'],
  ['CiliumCIDRGroup', 'cilium.io'],
]);
const groupOf = ({ apiVersion }: KubeObject): string =>
  apiVersion.includes('/') ? (apiVersion.split('/')[0] ?? '') : '';

const clusterScoped: ReadonlySet<string> = new Set([
  'Namespace',
  'Node',
  'CiliumClusterwideNetworkPolicy',
  'CiliumCIDRGroup',
]);

export interface PolicyManifests {
  objects: KubeObject[];
  /** Where each was read. */
  origins: ReadonlyMap<KubeObject, string>;
  /** For people: what was left out. */
  notes: string[];
}

export function readPolicyManifests(path: string): PolicyManifests {
  const origins = new Map<KubeObject, string>();
  const strangers = new Map<string, number>();
  const others: string[] = [];
  for (const { origin, object } of readManifests(path, (file) => others.push(file))) {
    if (asked.get(object.kind) === groupOf(object)) origins.set(asAdmitted(object), origin);
    else strangers.set(object.kind, (strangers.get(object.kind) ?? 0) + 1);
  }
  const notes = [
    ...[...strangers].map(
      ([kind, count]) => `${count} ${count === 1 ? 'object' : 'objects'} of kind ${kind} left out: no matter of policy`,
    ),
    ...others.map((file) => `${file} left out: no Kubernetes object`),
  ];
  return { objects: latest([...origins.keys()]), origins, notes };
}

/** As the API server would have it: with a namespace, and what pods and namespaces are given by default. */
export function asAdmitted(object: KubeObject): KubeObject {
  const metadata = { ...object.metadata };
  if (!clusterScoped.has(object.kind)) metadata.namespace ??= 'default';
  if (object.kind === 'Namespace')
    metadata.labels = { ...metadata.labels, 'kubernetes.io/metadata.name': metadata.name };
  if (object.kind !== 'Pod') return { ...object, metadata };
  const spec = (object.spec ?? {}) as Record<string, unknown>;
  return {
    ...object,
    metadata,
    spec: { ...spec, serviceAccountName: spec.serviceAccountName ?? spec.serviceAccount ?? 'default' },
  };
}

/** Of two documents about one object the last counts, as with kubectl apply. */
function latest(objects: readonly KubeObject[]): KubeObject[] {
  const key = ({ kind, apiVersion, metadata }: KubeObject): string =>
    [apiVersion.split('/')[0], kind, metadata.namespace ?? '', metadata.name].join('|');
  return [...new Map(objects.map((object) => [key(object), object])).values()];
}
