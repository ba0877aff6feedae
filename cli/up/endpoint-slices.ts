/** EndpointSlices of a Service, as a pure function of it and its pods; the controller around it is `slice-controller.ts`. */
import type { KubeObject } from '../../cluster/events.ts';
import { isFinished, isReady, type Pod } from './pod.ts';

export interface Service extends KubeObject {
  metadata: KubeObject['metadata'] & { namespace: string; uid: string };
  spec: {
    selector?: Record<string, string>;
    ports?: { name?: string; port: number; targetPort?: number | string; protocol?: string }[];
    ipFamilies?: string[];
    publishNotReadyAddresses?: boolean;
  };
}

export const MANAGED_BY = 'axoneme-up';
/** The API allows 1000. */
const ENDPOINTS_MAX = 1000;

export function slicesOf(service: Service, pods: readonly Pod[]): KubeObject[] {
  const { selector } = service.spec;
  if (!selector || Object.keys(selector).length === 0) return [];
  const backends = pods
    .filter((pod) => Object.entries(selector).every(([key, value]) => pod.metadata.labels?.[key] === value))
    .filter((pod) => !isFinished(pod))
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const families = service.spec.ipFamilies ?? ['IPv4'];
  return families.flatMap((family) => {
    const endpoints = backends.flatMap((pod) =>
      endpointOf(pod, family, service.spec.publishNotReadyAddresses ?? false),
    );
    const pieces = Math.max(1, Math.ceil(endpoints.length / ENDPOINTS_MAX));
    return Array.from({ length: pieces }, (_, piece) => {
      const part = endpoints.slice(piece * ENDPOINTS_MAX, (piece + 1) * ENDPOINTS_MAX);
      return slice(service, family, piece, part, portsOf(service, backends));
    });
  });
}

function endpointOf(pod: Pod, family: string, publishNotReady: boolean): Record<string, unknown>[] {
  const ip = pod.status?.podIPs?.find((entry) => entry.ip.includes(':') === (family === 'IPv6'))?.ip;
  if (!ip) return [];
  const terminating = pod.metadata.deletionTimestamp !== undefined;
  const serving = isReady(pod) || (terminating && pod.status?.phase === 'Running');
  const { namespace, name, uid } = pod.metadata;
  return [
    {
      addresses: [ip],
      conditions: { ready: publishNotReady || (isReady(pod) && !terminating), serving, terminating },
      nodeName: pod.spec.nodeName,
      targetRef: { kind: 'Pod', namespace, name, uid },
    },
  ];
}

/** A named target port is looked up in the first pod that has it. */
function portsOf(service: Service, pods: readonly Pod[]): Record<string, unknown>[] {
  return (service.spec.ports ?? []).flatMap(({ name = '', port, targetPort, protocol = 'TCP' }) => {
    const number = typeof targetPort === 'string' ? namedPort(targetPort, pods) : (targetPort ?? port);
    return number === undefined ? [] : [{ name, port: number, protocol }];
  });
}

function namedPort(name: string, pods: readonly Pod[]): number | undefined {
  const ports = pods.flatMap((pod) => pod.spec.containers.flatMap((container) => container.ports ?? []));
  return ports.find((port) => port.name === name)?.containerPort;
}

function slice(
  service: Service,
  family: string,
  piece: number,
  endpoints: Record<string, unknown>[],
  ports: Record<string, unknown>[],
): KubeObject {
  const { name, namespace, uid } = service.metadata;
  const suffix = `${family.toLowerCase()}${piece > 0 ? `-${piece}` : ''}`;
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${name}-${suffix}`,
      namespace,
      labels: {
        'kubernetes.io/service-name': name,
        'endpointslice.kubernetes.io/managed-by': MANAGED_BY,
      },
      ...{
        ownerReferences: [{ apiVersion: 'v1', kind: 'Service', name, uid, controller: true, blockOwnerDeletion: true }],
      },
    },
    addressType: family,
    endpoints,
    ports,
  };
}
