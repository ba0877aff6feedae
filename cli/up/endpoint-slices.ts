/**
 * EndpointSlices of a Service, as a pure function of it and its pods; the controller around it is `slice-controller.ts`.
 *
 * - A pod that is being deleted stays, as terminating and serving while it is ready, until it is gone.
 * - Pods whose named target ports have different numbers are in different slices.
 */
import type { KubeObject } from '../../cluster/events.ts';
import { fnv1a } from '../../machines/naming.ts';
import { isFinished, isReady, type Pod } from './pod.ts';

export interface Service extends KubeObject {
  metadata: KubeObject['metadata'] & { namespace: string; uid: string };
  spec: {
    selector?: Record<string, string>;
    ports?: { name?: string; port: number; targetPort?: number | string; protocol?: string }[];
    ipFamilies?: string[];
    publishNotReadyAddresses?: boolean;
    trafficDistribution?: string;
  };
}

export const MANAGED_BY = 'axoneme-up';
/** The API allows 1000. */
const ENDPOINTS_MAX = 1000;

/** `zones` by node name. */
export function slicesOf(
  service: Service,
  pods: readonly Pod[],
  zones: ReadonlyMap<string, string> = new Map(),
): KubeObject[] {
  const { selector } = service.spec;
  if (!selector || Object.keys(selector).length === 0) return [];
  const backends = pods
    .filter((pod) => Object.entries(selector).every(([key, value]) => pod.metadata.labels?.[key] === value))
    .filter((pod) => !isFinished(pod))
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const families = service.spec.ipFamilies ?? ['IPv4'];
  return families.flatMap((family) => {
    const groups = new Map<string, { ports: SlicePort[]; endpoints: Record<string, unknown>[] }>();
    for (const pod of backends) {
      const endpoint = endpointOf(pod, family, service, zones);
      if (!endpoint) continue;
      const ports = portsOf(service, pod);
      const text = JSON.stringify(ports);
      const group = groups.get(text) ?? { ports, endpoints: [] };
      groups.set(text, group);
      group.endpoints.push(endpoint);
    }
    if (groups.size === 0) groups.set('', { ports: numberedPorts(service), endpoints: [] });
    return [...groups].flatMap(([text, { ports, endpoints }]) =>
      Array.from({ length: Math.max(1, Math.ceil(endpoints.length / ENDPOINTS_MAX)) }, (_, piece) => {
        const part = endpoints.slice(piece * ENDPOINTS_MAX, (piece + 1) * ENDPOINTS_MAX);
        return slice(service, nameOf(service, family, text, piece), family, part, ports);
      }),
    );
  });
}

/** Endpoints do not move between slices when others come or go: slices of different ports are named after these. */
function nameOf({ metadata, spec }: Service, family: string, ports: string, piece: number): string {
  const isNamed = ports !== '' && spec.ports?.some(({ targetPort }) => typeof targetPort === 'string');
  const suffix = [...(isNamed ? [fnv1a(ports).slice(0, 5)] : []), ...(piece > 0 ? [piece] : [])];
  return [metadata.name, family.toLowerCase(), ...suffix].join('-');
}

/** Where the `kubernetes` service leads: its pods are no pods. */
export function apiServerSlice(address: string, port: number): KubeObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'kubernetes', namespace: 'default', labels: { 'kubernetes.io/service-name': 'kubernetes' } },
    addressType: 'IPv4',
    endpoints: [{ addresses: [address], conditions: { ready: true } }],
    ports: [{ name: 'https', port, protocol: 'TCP' }],
  };
}

interface SlicePort {
  name: string;
  port: number;
  protocol: string;
}

function endpointOf(
  pod: Pod,
  family: string,
  { spec }: Service,
  zones: ReadonlyMap<string, string>,
): Record<string, unknown> | undefined {
  const ip = pod.status?.podIPs?.find((entry) => entry.ip.includes(':') === (family === 'IPv6'))?.ip;
  if (!ip) return undefined;
  const terminating = pod.metadata.deletionTimestamp !== undefined;
  const serving = isReady(pod);
  const ready = spec.publishNotReadyAddresses === true || (serving && !terminating);
  const { namespace, name, uid } = pod.metadata;
  const { nodeName = '' } = pod.spec;
  const zone = zones.get(nodeName);
  const hints = ready ? hintsOf(spec.trafficDistribution, nodeName, zone) : undefined;
  return {
    addresses: [ip],
    conditions: { ready, serving, terminating },
    nodeName,
    ...(zone && { zone }),
    ...(hints && { hints }),
    targetRef: { kind: 'Pod', namespace, name, uid },
  };
}

/** Who is to use an endpoint; kube-proxy and its like follow the hints, not the field of the Service. */
function hintsOf(distribution: string | undefined, node: string, zone: string | undefined): object | undefined {
  const forZones = zone && { forZones: [{ name: zone }] };
  switch (distribution) {
    case 'PreferClose':
    case 'PreferSameZone':
      return forZones || undefined;
    case 'PreferSameNode':
      return { ...forZones, forNodes: [{ name: node }] };
    default:
      return undefined;
  }
}

/** A named target port is that of the pod; one that the pod lacks is left out. */
function portsOf({ spec }: Service, pod: Pod): SlicePort[] {
  return (spec.ports ?? []).flatMap(({ name = '', port, targetPort, protocol = 'TCP' }) => {
    const number = typeof targetPort === 'string' ? namedPort(targetPort, protocol, pod) : targetPort || port;
    return number === undefined ? [] : [{ name, port: number, protocol }];
  });
}

/** What is known of the ports when there is no pod. */
function numberedPorts({ spec }: Service): SlicePort[] {
  return (spec.ports ?? []).flatMap(({ name = '', port, targetPort, protocol = 'TCP' }) =>
    typeof targetPort === 'string' ? [] : [{ name, port: targetPort || port, protocol }],
  );
}

function namedPort(name: string, protocol: string, { spec }: Pod): number | undefined {
  const ports = spec.containers.flatMap((container) => container.ports ?? []);
  return ports.find((port) => port.name === name && (port.protocol ?? 'TCP') === protocol)?.containerPort;
}

function slice(
  service: Service,
  sliceName: string,
  family: string,
  endpoints: Record<string, unknown>[],
  ports: SlicePort[],
): KubeObject {
  const { name, namespace, uid } = service.metadata;
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: sliceName,
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
