/** The agent's watches: which objects it hears of, and how they enter the log. */
import type { KubeConfig } from '@kubernetes/client-node';
import { map, merge, type Observable } from 'rxjs';
import type { ClusterEvent } from '../../cluster/events.ts';
import { slimEndpointSlice, slimService } from '../../cluster/slim.ts';
import { slimCiliumEndpoint, slimCiliumEndpointSlice, slimCiliumNode, slimNode } from '../../cluster/slim-nodes.ts';
import { watchResource } from '../../cluster/watch.ts';
import type { Slim } from '../../cluster/watched-set.ts';
import { ApiTroubles } from './api-troubles.ts';

interface Watched {
  resource: string;
  path: string;
  fieldSelector?: string;
  slim?: Slim;
}

function watchedBy(nodeName: string): Watched[] {
  return [
    { resource: 'nodes', path: '/api/v1/nodes', slim: slimNode },
    { resource: 'ciliumnodes', path: '/apis/cilium.io/v2/ciliumnodes', slim: slimCiliumNode },
    { resource: 'namespaces', path: '/api/v1/namespaces' },
    { resource: 'ciliumidentities', path: '/apis/cilium.io/v2/ciliumidentities' },
    { resource: 'pods', path: '/api/v1/pods', fieldSelector: `spec.nodeName=${nodeName}` },
    { resource: 'networkpolicies', path: '/apis/networking.k8s.io/v1/networkpolicies' },
    ...['ciliumnetworkpolicies', 'ciliumclusterwidenetworkpolicies', 'ciliumcidrgroups'].map((resource) => ({
      resource,
      path: `/apis/cilium.io/v2/${resource}`,
    })),
    { resource: 'ciliumendpoints', path: '/apis/cilium.io/v2/ciliumendpoints', slim: slimCiliumEndpoint },
    {
      resource: 'ciliumendpointslices',
      path: '/apis/cilium.io/v2alpha1/ciliumendpointslices',
      slim: slimCiliumEndpointSlice,
    },
    { resource: 'services', path: '/api/v1/services', slim: slimService },
    {
      resource: 'endpointslices',
      path: '/apis/discovery.k8s.io/v1/endpointslices',
      slim: slimEndpointSlice,
    },
  ];
}

export function kubeEvents(
  config: KubeConfig,
  nodeName: string,
  log: (line: string) => void,
): Observable<ClusterEvent> {
  const troubles = new ApiTroubles(log);
  const streams = watchedBy(nodeName).map(({ resource, ...options }) =>
    watchResource(config, { ...options, onTrouble: (cause) => troubles.tell(options.path, cause) }).pipe(
      map((event): ClusterEvent => {
        if (event.type === 'synced') return { type: 'source.synced', source: `kube/${resource}` };
        return { type: event.type === 'upsert' ? 'kube.upserted' : 'kube.deleted', resource, object: event.object };
      }),
    ),
  );
  return merge(...streams);
}
