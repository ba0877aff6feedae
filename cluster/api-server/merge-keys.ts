/**
 * How the lists of built-in kinds merge: the `patchMergeKey` and `listMapKeys` tags of the Kubernetes API types.
 *
 * A list that is not here is replaced as a whole.
 */
import type { Schema } from './schema.ts';

/** `merge`: by this key in strategic merge patches. `map`: by these keys in server-side apply, if not the same. */
type ListMerge = { merge: string; map?: readonly string[] } | { set: true };

const lists: Record<string, ListMerge> = {
  'V1ObjectMeta.ownerReferences': { merge: 'uid' },
  'V1ObjectMeta.finalizers': { set: true },
  'V1PodSpec.containers': { merge: 'name' },
  'V1PodSpec.initContainers': { merge: 'name' },
  'V1PodSpec.ephemeralContainers': { merge: 'name' },
  'V1PodSpec.volumes': { merge: 'name' },
  'V1PodSpec.imagePullSecrets': { merge: 'name' },
  'V1PodSpec.hostAliases': { merge: 'ip' },
  'V1PodSpec.topologySpreadConstraints': { merge: 'topologyKey', map: ['topologyKey', 'whenUnsatisfiable'] },
  'V1PodSpec.schedulingGates': { merge: 'name' },
  'V1PodSpec.resourceClaims': { merge: 'name' },
  'V1PodStatus.conditions': { merge: 'type' },
  'V1PodStatus.podIPs': { merge: 'ip' },
  'V1PodStatus.hostIPs': { merge: 'ip' },
  'V1Container.ports': { merge: 'containerPort', map: ['containerPort', 'protocol'] },
  'V1Container.env': { merge: 'name' },
  'V1Container.volumeMounts': { merge: 'mountPath' },
  'V1Container.volumeDevices': { merge: 'devicePath' },
  'V1EphemeralContainer.ports': { merge: 'containerPort', map: ['containerPort', 'protocol'] },
  'V1EphemeralContainer.env': { merge: 'name' },
  'V1EphemeralContainer.volumeMounts': { merge: 'mountPath' },
  'V1EphemeralContainer.volumeDevices': { merge: 'devicePath' },
  'V1ServiceSpec.ports': { merge: 'port', map: ['port', 'protocol'] },
  'V1ServiceStatus.conditions': { merge: 'type' },
  'V1ServiceAccount.secrets': { merge: 'name' },
  'V1NodeSpec.podCIDRs': { set: true },
  'V1NodeStatus.conditions': { merge: 'type' },
  'V1NodeStatus.addresses': { merge: 'type' },
  'V1NamespaceStatus.conditions': { merge: 'type' },
  'V1CustomResourceDefinitionStatus.conditions': { merge: 'type' },
};

/** The list keywords of one field of one model. */
export function listMerge(model: string, field: string): Partial<Schema> {
  const list = lists[`${model}.${field}`];
  if (!list) return {};
  if ('set' in list) return { 'x-kubernetes-patch-strategy': 'merge', 'x-kubernetes-list-type': 'set' };
  return {
    'x-kubernetes-patch-strategy': 'merge',
    'x-kubernetes-patch-merge-key': list.merge,
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': list.map ?? [list.merge],
  };
}
