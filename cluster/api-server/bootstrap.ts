/** What a cluster holds from the beginning: its namespaces and the `kubernetes` service. */

import { firstAddress, type ServiceRange } from './service-ips.ts';
import type { Store } from './store.ts';

export const systemNamespaces = ['default', 'kube-system', 'kube-public', 'kube-node-lease'];

export function bootstrapCluster(store: Store, ranges: readonly ServiceRange[], definitions: readonly unknown[]): void {
  const has = (resource: string, namespace: string, name: string): boolean =>
    store.storage.get(resource, namespace, name) !== undefined;
  for (const name of systemNamespaces) {
    if (!has('/namespaces', '', name)) store.create(store.registry.named('namespaces'), '', { metadata: { name } });
  }
  for (const definition of definitions) installDefinition(store, definition);
  if (!has('/services', 'default', 'kubernetes') && ranges.length > 0) {
    store.create(store.registry.named('services'), 'default', {
      metadata: { name: 'kubernetes', labels: { component: 'apiserver', provider: 'kubernetes' } },
      spec: {
        clusterIP: ranges[0] ? firstAddress(ranges[0]) : '',
        ports: [{ name: 'https', port: 443, protocol: 'TCP', targetPort: 6443 }],
      },
    });
  }
}

/** A definition kept from an earlier run is brought up to date. */
function installDefinition(store: Store, definition: unknown): void {
  const type = store.registry.named('customresourcedefinitions');
  const { metadata, spec } = definition as {
    metadata: { name: string; labels?: Record<string, string> };
    spec: unknown;
  };
  if (!store.storage.get(type.storageKey, '', metadata.name)) {
    store.create(type, '', definition);
    return;
  }
  store.modify(type, '', metadata.name, (current) => ({
    ...current,
    metadata: { ...current.metadata, labels: { ...current.metadata.labels, ...metadata.labels } },
    spec,
  }));
}
