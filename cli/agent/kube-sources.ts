/** The agent's watches: which objects it hears of, and how they enter the log. */
import type { KubeConfig } from '@kubernetes/client-node';
import { map, merge, type Observable } from 'rxjs';
import type { ClusterEvent } from '../../cluster/events.ts';
import { watchResource } from '../../cluster/watch.ts';

interface Watched {
  resource: string;
  path: string;
  fieldSelector?: string;
}

function watchedBy(nodeName: string): Watched[] {
  return [
    { resource: 'nodes', path: '/api/v1/nodes', fieldSelector: `metadata.name=${nodeName}` },
    { resource: 'namespaces', path: '/api/v1/namespaces' },
    { resource: 'ciliumidentities', path: '/apis/cilium.io/v2/ciliumidentities' },
    { resource: 'pods', path: '/api/v1/pods', fieldSelector: `spec.nodeName=${nodeName}` },
  ];
}

export function kubeEvents(
  config: KubeConfig,
  nodeName: string,
  log: (line: string) => void,
): Observable<ClusterEvent> {
  const streams = watchedBy(nodeName).map(({ resource, ...options }) =>
    watchResource(config, { ...options, onTrouble: (message) => log(`api server: ${message}`) }).pipe(
      map((event): ClusterEvent => {
        if (event.type === 'synced') return { type: 'source.synced', source: `kube/${resource}` };
        return { type: event.type === 'upsert' ? 'kube.upserted' : 'kube.deleted', resource, object: event.object };
      }),
    ),
  );
  return merge(...streams);
}
