/**
 * A Service as the machine reads it, and the addresses and ports that it asks for on this node.
 *
 * - What the API server would refuse is left out, never guessed.
 * - Of one service's wishes for the same address and port the more particular kind counts: see `PRECEDENCE`.
 */
import type { KubeObject } from '../cluster/events.ts';
import { type FrontendRow, frontendKey, type Protocol } from '../state/tables.ts';
import { canonicalAddress, canonicalCidr } from './cidr.ts';
import type { ServiceNodeFact } from './service-node.ts';
import { type Family, familyName, isPort, isProtocol, listOf, objectOf, objectsIn, textOf } from './service-slices.ts';

export interface ServiceSpec {
  uid: string;
  created: string;
  /** Why no node balances it, or empty. */
  unserved: string;
  ports: ServicePort[];
  clusterIPs: string[];
  hasNodePorts: boolean;
  ingress: string[];
  loadBalancerClass: string;
  externalIPs: string[];
  internalLocal: boolean;
  externalLocal: boolean;
  /** Seconds; 0: none. */
  affinityTimeout: number;
  /** Only these clients; undefined: all. */
  sourceRanges?: string[];
  /** Health check node port, or 0. */
  healthPort: number;
  /** Its status says that another has some of its addresses. */
  saysConflict?: true;
}
/** Of a Service's status. */
export const CONFLICT = 'axoneme.io/FrontendConflict';
export interface ServicePort {
  name: string;
  port: number;
  protocol: Protocol;
  nodePort: number;
}

/** An address and port that a service, or a pod with a host port, asks for. */
export interface Frontend {
  key: string;
  family: Family;
  type: FrontendRow['type'];
  port: ServicePort;
}

const PROXY_NAME = 'service.kubernetes.io/service-proxy-name';
const SOURCE_RANGES = 'service.beta.kubernetes.io/load-balancer-source-ranges';
const AFFINITY_DEFAULT_S = 10_800;
const AFFINITY_MAX_S = 86_400;

type RawSpec = Partial<
  Record<
    | 'type'
    | 'clusterIP'
    | 'clusterIPs'
    | 'ports'
    | 'externalIPs'
    | 'loadBalancerClass'
    | 'loadBalancerSourceRanges'
    | 'internalTrafficPolicy'
    | 'externalTrafficPolicy'
    | 'sessionAffinity'
    | 'sessionAffinityConfig'
    | 'healthCheckNodePort',
    unknown
  >
>;

export function serviceSpec({ metadata, ...object }: KubeObject): ServiceSpec {
  const spec = objectOf<RawSpec>(object.spec) as RawSpec;
  const isLoadBalancer = spec.type === 'LoadBalancer';
  const externalLocal = spec.externalTrafficPolicy === 'Local';
  const clusterIPs = Array.isArray(spec.clusterIPs) ? spec.clusterIPs : [spec.clusterIP];
  const sourceRanges = isLoadBalancer ? rangesOf(spec, metadata.annotations) : undefined;
  return {
    uid: metadata.uid ?? '',
    created: metadata.creationTimestamp ?? '',
    unserved: whyUnserved(spec, clusterIPs, metadata.labels?.[PROXY_NAME]),
    ports: objectsIn<RawPort>(spec.ports).flatMap(portOf),
    clusterIPs: addressesIn(clusterIPs),
    hasNodePorts: isLoadBalancer || spec.type === 'NodePort',
    ingress: isLoadBalancer ? ingressOf(object.status) : [],
    loadBalancerClass: textOf(spec.loadBalancerClass),
    externalIPs: addressesIn(listOf(spec.externalIPs)),
    internalLocal: spec.internalTrafficPolicy === 'Local',
    externalLocal,
    affinityTimeout: spec.sessionAffinity === 'ClientIP' ? timeoutOf(spec.sessionAffinityConfig) : 0,
    ...(sourceRanges && { sourceRanges }),
    healthPort: isLoadBalancer && externalLocal && isPort(spec.healthCheckNodePort) ? spec.healthCheckNodePort : 0,
    ...(saysConflict(object.status) && { saysConflict: true as const }),
  };
}

function saysConflict(status: unknown): boolean {
  const { conditions } = objectOf<{ conditions: unknown }>(status);
  return objectsIn<{ type: unknown; status: unknown }>(conditions).some(
    ({ type, status }) => type === CONFLICT && status === 'True',
  );
}

function whyUnserved(spec: RawSpec, clusterIPs: readonly unknown[], proxy: string | undefined): string {
  if (spec.type === 'ExternalName') return 'a name elsewhere (type ExternalName)';
  if (clusterIPs.includes('None')) return 'headless: clients resolve its endpoints themselves';
  if (proxy !== undefined) return `served by another proxy (label ${PROXY_NAME} is ${proxy})`;
  return '';
}

type RawPort = Partial<Record<'name' | 'port' | 'protocol' | 'nodePort', unknown>>;

function portOf({ name, port, protocol, nodePort }: RawPort): ServicePort[] {
  const known = protocol ?? 'TCP';
  if (!isPort(port) || !isProtocol(known)) return [];
  return [{ name: textOf(name), port, protocol: known, nodePort: isPort(nodePort) ? nodePort : 0 }];
}

const addressesIn = (texts: readonly unknown[]): string[] => [
  ...new Set(texts.map((text) => canonicalAddress(textOf(text))).filter((address) => address !== undefined)),
];

/** Load balancers of mode Proxy want their packets themselves. */
function ingressOf(status: unknown): string[] {
  const { loadBalancer } = objectOf<{ loadBalancer: unknown }>(status);
  const { ingress } = objectOf<{ ingress: unknown }>(loadBalancer);
  const places = objectsIn<{ ip?: unknown; ipMode?: unknown }>(ingress);
  return addressesIn(places.filter(({ ipMode }) => ipMode !== 'Proxy').map(({ ip }) => ip));
}

/** A list without one good range lets nobody in: it was meant to keep somebody out. */
function rangesOf(spec: RawSpec, annotations: Readonly<Record<string, string>> = {}): string[] | undefined {
  const listed = listOf(spec.loadBalancerSourceRanges);
  const texts = listed.length > 0 ? listed.map(textOf) : textOf(annotations[SOURCE_RANGES]).split(',');
  const meant = texts.map((text) => text.trim()).filter(Boolean);
  if (meant.length === 0 && listed.length === 0) return undefined;
  return [...new Set(meant.map(canonicalCidr).filter((cidr) => cidr !== undefined))].sort();
}

function timeoutOf(config: unknown): number {
  const { clientIP } = objectOf<{ clientIP: unknown }>(config);
  const { timeoutSeconds } = objectOf<{ timeoutSeconds: unknown }>(clientIP);
  const seconds = Number.isInteger(timeoutSeconds) ? (timeoutSeconds as number) : AFFINITY_DEFAULT_S;
  return Math.min(Math.max(seconds, 1), AFFINITY_MAX_S);
}

/** Low first. */
const PRECEDENCE: readonly FrontendRow['type'][] = ['ClusterIP', 'LoadBalancer', 'ExternalIP', 'NodePort', 'HostPort'];
export const precedenceOf = (type: FrontendRow['type']): number => PRECEDENCE.indexOf(type);

export function frontendsOf(spec: ServiceSpec, node: ServiceNodeFact): Frontend[] {
  if (spec.unserved || node.mode === 'off') return [];
  const families = new Set(spec.clusterIPs.map(familyName));
  const isServed = (address: string): boolean => {
    const family = familyName(address);
    return families.has(family) && (family === 'IPv4' ? node.ipv4 : node.ipv6);
  };
  const isOurs = spec.loadBalancerClass === '' || node.loadBalancerClasses.includes(spec.loadBalancerClass);
  const found = new Map<string, Frontend>();
  const add = (type: Frontend['type'], port: ServicePort, addresses: readonly string[], number: number): void => {
    for (const address of addresses) {
      if (!isServed(address)) continue;
      const key = frontendKey({ address, port: number, protocol: port.protocol });
      if (!found.has(key)) found.set(key, { key, family: familyName(address), type, port });
    }
  };
  for (const port of spec.ports) add('ClusterIP', port, spec.clusterIPs, port.port);
  for (const port of spec.ports) {
    if (node.nodePort && isOurs) add('LoadBalancer', port, spec.ingress, port.port);
    if (node.externalIPs) add('ExternalIP', port, spec.externalIPs, port.port);
  }
  for (const port of spec.ports) {
    if (node.nodePort && spec.hasNodePorts && port.nodePort > 0) add('NodePort', port, node.addresses, port.nodePort);
  }
  return [...found.values()];
}
