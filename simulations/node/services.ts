/**
 * Services and EndpointSlices of a simulated cluster, from small numbers, and what a node must have for them.
 *
 * - The oracle asks no machine: it reads the objects as Kubernetes means them.
 */
import type { KubeObject, ServiceFacts } from '../../cluster/events.ts';
import type { Op } from '../../datapath/driver.ts';
import type { Engine } from '../../reconcilers/engine.ts';
import type { BackendSetRow, FrontendRow, TableName } from '../../state/tables.ts';
import type { SimulatedKernel } from '../kernel.ts';
import type { SimulatedApi } from './api.ts';

export const serviceKinds = ['plain', 'nodePort', 'loadBalancer', 'local', 'affinity', 'external', 'headless'] as const;
export type ServiceKind = (typeof serviceKinds)[number];

export type ServiceAction =
  | { do: 'service'; service: number; as: ServiceKind | 'none' }
  /** Bits of `ready` and `draining` are the endpoints that are so; none of either: the slice goes. */
  | { do: 'endpoints'; service: number; slice: number; ready: number; draining: number };

export const SERVICES = 4;
/** The last one is of IPv6. */
export const SLICES = 3;
export const ENDPOINTS = 4;

export const serviceFacts: ServiceFacts = {
  mode: 'strict',
  socketLB: true,
  nodePort: true,
  externalIPs: true,
  hostPort: true,
  healthPorts: true,
  xdp: 'off',
  forwarding: 'snat',
  algorithm: 'maglev',
  maglevTableSize: 251,
  nodePortAddresses: [],
  loadBalancerClasses: [],
  cgroupRoot: '',
  sockHooks: [],
};

const NAMESPACE = 'demo';
const LOCAL_NODE = 'node-1';
const nameOf = (service: number): string => `web-${service}`;
const TARGET_PORT = 8080;

export function actOnServices(api: SimulatedApi, action: ServiceAction): void {
  const name = nameOf(action.service);
  if (action.do === 'service') {
    if (action.as === 'none') api.delete('services', `${NAMESPACE}/${name}`);
    else api.upsert('services', serviceObject(action.service, action.as));
  } else if (action.ready === 0 && action.draining === 0)
    api.delete('endpointslices', `${NAMESPACE}/${name}-${action.slice}`);
  else api.upsert('endpointslices', sliceObject(action));
}

export function deleteServices(api: SimulatedApi): void {
  for (const resource of ['services', 'endpointslices'])
    for (const key of [...api.of(resource).keys()]) api.delete(resource, key);
}

const kindSpecs: Record<ServiceKind, (service: number) => object> = {
  plain: () => ({}),
  nodePort: (service) => ({ type: 'NodePort', ports: [{ port: 80, protocol: 'TCP', nodePort: 30080 + service }] }),
  loadBalancer: () => ({ type: 'LoadBalancer', loadBalancerSourceRanges: ['203.0.113.0/24', '2001:db8:99::/48'] }),
  local: () => ({ type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 32000 }),
  affinity: () => ({ sessionAffinity: 'ClientIP' }),
  // One address for all of them: only one can have it.
  external: () => ({ externalIPs: ['198.51.100.7'] }),
  headless: () => ({ clusterIP: 'None', clusterIPs: ['None'] }),
};

function serviceObject(service: number, kind: ServiceKind): KubeObject {
  const clusterIPs = [`10.96.0.${service + 1}`, `fd00:96::${service + 1}`];
  const spec = { type: 'ClusterIP', clusterIPs, ports: [{ port: 80, protocol: 'TCP' }], ...kindSpecs[kind](service) };
  const status = { loadBalancer: { ingress: [{ ip: `198.51.100.${100 + service}` }] } };
  const metadata = { name: nameOf(service), namespace: NAMESPACE, uid: `svc-${service}` };
  return { apiVersion: 'v1', kind: 'Service', metadata, spec, status };
}

function sliceObject({ service, slice, ready, draining }: Extract<ServiceAction, { do: 'endpoints' }>): KubeObject {
  const isV6 = slice === SLICES - 1;
  const numbers = Array.from({ length: ENDPOINTS }, (_, i) => i).filter((i) => (ready | draining) & (1 << i));
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${nameOf(service)}-${slice}`,
      namespace: NAMESPACE,
      uid: `slice-${service}-${slice}`,
      labels: { 'kubernetes.io/service-name': nameOf(service) },
    },
    addressType: isV6 ? 'IPv6' : 'IPv4',
    ports: [{ name: '', port: TARGET_PORT, protocol: 'TCP' }],
    endpoints: numbers.map((i) => {
      // Services share some addresses, and two slices of one service share one.
      const host = service * 2 + i + (slice === 1 ? 3 : 0) + 1;
      const isReady = (ready & (1 << i)) !== 0;
      const isDraining = !isReady;
      return {
        addresses: [isV6 ? `fd00:9::${host}` : `10.0.9.${host}`],
        conditions: { ready: isReady, serving: true, terminating: isDraining },
        nodeName: i % 2 === 0 ? LOCAL_NODE : 'node-2',
      };
    }),
  };
}

interface Slice {
  addressType: string;
  endpoints: { addresses: string[]; conditions: { ready: boolean }; nodeName: string }[];
}

/** Cluster addresses that live services have, and the backends behind each: those that are ready, or else those that still serve. */
function wantedBackends(api: SimulatedApi): Map<string, string[]> {
  const wanted = new Map<string, string[]>();
  for (const [key, { spec }] of api.of('services')) {
    const { clusterIPs } = spec as { clusterIPs: string[] };
    const slices = [...api.of('endpointslices').values()].filter(
      ({ metadata }) => `${NAMESPACE}/${metadata.labels?.['kubernetes.io/service-name']}` === key,
    ) as unknown as Slice[];
    for (const address of clusterIPs.filter((one) => one !== 'None')) {
      const isV6 = address.includes(':');
      const all = slices.filter(({ addressType }) => (addressType === 'IPv6') === isV6).flatMap((one) => one.endpoints);
      const ready = all.filter(({ conditions }) => conditions.ready);
      const chosen = ready.length > 0 ? ready : all;
      const names = chosen.map(({ addresses: [one] }) => `${isV6 ? `[${one}]` : one}:${TARGET_PORT}/TCP`);
      wanted.set(`${isV6 ? `[${address}]` : address}:80/TCP`, [...new Set(names)].sort());
    }
  }
  return wanted;
}

/** After all is quiet: each cluster address leads to the backends that Kubernetes means, and no other is there. */
export function checkServices(api: SimulatedApi, kernel: SimulatedKernel): string[] {
  const found: string[] = [];
  const wanted = wantedBackends(api);
  const frontends = kernel.dump('bpf.frontends') as Map<string, FrontendRow>;
  const sets = kernel.dump('bpf.backend-sets') as Map<string, BackendSetRow>;
  for (const [key, backends] of wanted) {
    const set = sets.get(frontends.get(key)?.internalSet ?? '');
    if (!set) found.push(`lost: frontend ${key} or its set`);
    else if (set.backends.join() !== backends.join())
      found.push(
        `lost: frontend ${key} leads to ${set.backends.join() || 'none'}, wanted ${backends.join() || 'none'}`,
      );
  }
  for (const [key, { type, service }] of frontends) {
    if (type === 'ClusterIP' && !wanted.has(key)) found.push(`leaked: frontend ${key} of ${service}`);
  }
  return found;
}

/**
 * Referents: looked at right before an op is applied; what something in the kernel names does not go, unless that is on its way out
 * too and could not be deleted.
 */
export function checkReferents({ table, key, action }: Op, kernel: SimulatedKernel, engine: Engine): string[] {
  if (action !== 'delete') return [];
  const isWanted = (of: TableName, name: string): boolean => engine.explain(of, name)?.row.desired !== undefined;
  if (table === 'bpf.backends') {
    const sets = kernel.dump('bpf.backend-sets') as Map<string, BackendSetRow>;
    const user = [...sets].find(([, { backends }]) => backends.includes(key))?.[0];
    if (user !== undefined && isWanted('bpf.backend-sets', user))
      return [`referents: delete of backend ${key}, which set ${user} names`];
  }
  if (table === 'bpf.backend-sets') {
    const frontends = kernel.dump('bpf.frontends') as Map<string, FrontendRow>;
    const user = [...frontends].find(([, row]) => row.internalSet === key || row.externalSet === key)?.[0];
    if (user !== undefined && isWanted('bpf.frontends', user))
      return [`referents: delete of set ${key}, which frontend ${user} names`];
  }
  return [];
}
