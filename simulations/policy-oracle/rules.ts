/** One element of ingress, egress, ingressDeny or egressDeny of a Cilium policy, held against a peer and a port. */
import type { KubeObject } from '../../cluster/events.ts';
import { type Cluster, namespaceOf, ofKind, type Party } from './cluster.ts';
import { isInside } from './ip.ts';
import { keysOf, labelKeys, parseKey, type Selector, selects, withSource } from './labels.ts';

export type Direction = 'ingress' | 'egress';

export interface CidrSet {
  cidr?: string;
  cidrGroupRef?: string;
  cidrGroupSelector?: Selector;
  except?: string[];
}
interface ServiceReference {
  k8sService?: { serviceName?: string; namespace?: string };
  k8sServiceSelector?: { selector?: Selector; namespace?: string };
}
export interface PortRule {
  ports?: { port?: string; endPort?: number; protocol?: string }[];
  rules?: Record<string, unknown>;
  listener?: unknown;
  terminatingTLS?: unknown;
  originatingTLS?: unknown;
  serverNames?: unknown[];
}
interface IcmpRule {
  fields?: { family?: string; type: number | string }[];
}
export interface Element {
  toPorts?: PortRule[];
  icmps?: IcmpRule[];
  authentication?: { mode?: string };
  [member: string]: unknown;
}

/** What is asked of a rule. */
export interface Question {
  cluster: Cluster;
  direction: Direction;
  /** Whose policy this is. */
  subject: Party;
  peer: Party;
  protocol: string;
  port: number;
}

/** `redirected`: only a proxy could say; `waits`: the match needs what is not there yet. */
export type Match = 'no' | 'yes' | 'redirected' | 'waits';

/** Members that say who the peer is; undefined: any of them, or none. */
const L3 = ['Endpoints', 'Entities', 'CIDR', 'CIDRSet', 'Nodes', 'Groups', 'Services', 'FQDNs'] as const;

export function matchElement(element: Element, namespace: string | undefined, question: Question): Match {
  const prefix = question.direction === 'ingress' ? 'from' : 'to';
  const member = L3.find((name) => element[prefix + name] !== undefined);
  const isPeerFree = member === undefined;
  const hasPorts = (element.toPorts ?? []).length > 0;
  const hasIcmps = (element.icmps ?? []).length > 0;
  // An element that says nothing selects nothing.
  if (isPeerFree && !hasPorts && !hasIcmps) return 'no';
  if (!isPeerFree && !isPeer(member, element[prefix + member] as never, namespace, question)) return 'no';
  let match: Match = 'yes';
  if (hasPorts) match = matchPorts(element.toPorts ?? [], question);
  else if (hasIcmps) match = (element.icmps ?? []).some((one) => isIcmp(one, question)) ? 'yes' : 'no';
  if (match === 'no') return 'no';
  const { mode } = element.authentication ?? {};
  return mode === 'required' || mode === 'test-always-fail' ? 'waits' : match;
}

function isPeer(
  member: (typeof L3)[number],
  list: readonly never[],
  namespace: string | undefined,
  question: Question,
): boolean {
  const { cluster, peer, subject } = question;
  switch (member) {
    case 'Endpoints':
      return list.some((selector) => isEndpoint(selector, namespace, question));
    case 'Entities':
      return list.some((entity) => isEntity(entity, subject, peer));
    case 'CIDR':
      return list.some((cidr) => isOutsideIn(peer, cidr));
    case 'CIDRSet':
      return list.some((set) => isInCidrSet(set, cluster, peer));
    case 'Nodes':
      return isRemote(subject, peer) && peer.kind === 'node' && list.some((one) => isNode(one, peer));
    case 'Services':
      return list.some((one) => isBehindService(one, question));
    case 'Groups':
    case 'FQDNs':
      // Nobody knows yet who is behind them.
      return false;
  }
}

const isRemote = (subject: Party, peer: Party): boolean =>
  peer.kind === 'node' && (subject.kind === 'outside' || peer.node !== subject.node || peer.node === '?');

/** Reserved labels of a peer, as the subject's node sees it. */
export function reservedLabels(subject: Party, peer: Party): Map<string, string> {
  const names: string[] = [];
  if (peer.kind === 'node') names.push(isRemote(subject, peer) ? 'remote-node' : 'host');
  if (peer.kind === 'outside') names.push(peer.family === 4 ? 'world-ipv4' : 'world-ipv6');
  if (peer.kind !== 'pod' && peer.isApiServer) names.push('kube-apiserver');
  return new Map(names.map((name) => [`reserved:${name}`, '']));
}

export function isNode(selector: Selector, node: Extract<Party, { kind: 'node' }>): boolean {
  const { matchLabels = {}, matchExpressions } = selector;
  const plain = (key: string): string => key.replace(/^(k8s|any|node):/, '');
  return selects(
    {
      matchLabels: Object.fromEntries(Object.entries(matchLabels).map(([key, value]) => [plain(key), value])),
      matchExpressions: (matchExpressions ?? []).map((one) => ({ ...one, key: plain(one.key) })),
    },
    new Map([...node.labels].map(([key, value]) => [`node:${key}`, value])),
  );
}

/** `namespace` undefined: a clusterwide policy. */
function isEndpoint(selector: Selector, namespace: string | undefined, { cluster, subject, peer }: Question): boolean {
  const labels = peer.kind === 'pod' ? peer.labels : reservedLabels(subject, peer);
  if (!selects(selector, labels)) return false;
  const keys = keysOf(selector).map(parseKey);
  if (keys.some(({ source }) => source === 'reserved')) return true;
  const names = (wanted: string): boolean =>
    keys.some(({ source, key }) => key === wanted && (source === 'k8s' || source === 'any'));
  const home = labels.get(`k8s:${labelKeys.NAMESPACE}`);
  if (!names(labelKeys.CLUSTER) && labels.get(`k8s:${labelKeys.CLUSTER}`) !== cluster.clusterName) return false;
  if (names(labelKeys.NAMESPACE)) return true;
  if (namespace === undefined) return home !== undefined;
  const byNamespaceLabels = keys.some(
    ({ source, key }) => (source === 'k8s' || source === 'any') && key.startsWith(labelKeys.NAMESPACE_LABELS),
  );
  return byNamespaceLabels || home === namespace;
}

function isEntity(entity: string, subject: Party, peer: Party): boolean {
  const isNodeHere = peer.kind === 'node' && !isRemote(subject, peer);
  switch (entity) {
    case 'all':
      return true;
    case 'world':
      return peer.kind === 'outside';
    case 'world-ipv4':
      return peer.kind === 'outside' && peer.family === 4;
    case 'world-ipv6':
      return peer.kind === 'outside' && peer.family === 6;
    case 'host':
      return isNodeHere;
    case 'remote-node':
      return isRemote(subject, peer);
    case 'kube-apiserver':
      return peer.kind !== 'pod' && peer.isApiServer;
    case 'cluster':
    case 'cluster-mesh':
      return peer.kind !== 'outside' || peer.isApiServer;
    default:
      // health, init, ingress, unmanaged: no flow of ours comes from there; none: never.
      return false;
  }
}

/** CIDRs never select pods or nodes, whatever their address. An entity without an address is in nothing smaller than the world. */
function isOutsideIn(peer: Party, cidr: string): boolean {
  if (peer.kind !== 'outside') return false;
  return isInside(peer.address || (peer.family === 4 ? '0.0.0.0/0' : '::/0'), cidr);
}

function isInCidrSet(set: CidrSet, cluster: Cluster, peer: Party): boolean {
  const groups = ofKind(cluster, 'CiliumCIDRGroup').filter(({ metadata }) => {
    if (set.cidrGroupRef !== undefined) return metadata.name === set.cidrGroupRef;
    if (set.cidrGroupSelector === undefined) return false;
    const labels = Object.entries(metadata.labels ?? {}).map(([key, value]): [string, string] => [`k8s:${key}`, value]);
    return selects(set.cidrGroupSelector, new Map(labels));
  });
  const listed = groups.flatMap(({ spec }) => (spec as { externalCIDRs?: string[] } | undefined)?.externalCIDRs ?? []);
  const cidrs = [...(set.cidr === undefined ? [] : [set.cidr]), ...listed];
  const isExcepted = (set.except ?? []).some((cidr) => isOutsideIn(peer, cidr));
  return !isExcepted && cidrs.some((cidr) => isOutsideIn(peer, cidr));
}

function isBehindService(reference: ServiceReference, question: Question): boolean {
  const { k8sService, k8sServiceSelector } = reference;
  const { cluster, peer } = question;
  const services = ofKind(cluster, 'Service').filter((service) => {
    const namespace = (k8sService ?? k8sServiceSelector)?.namespace;
    if (namespace && namespace !== namespaceOf(service)) return false;
    if (k8sService) return service.metadata.name === k8sService.serviceName;
    const labels = Object.entries(service.metadata.labels ?? {});
    return selects(
      k8sServiceSelector?.selector ?? {},
      new Map(labels.map(([key, value]): [string, string] => [`k8s:${key}`, value])),
    );
  });
  return services.some((service) => {
    const { selector } = (service.spec ?? {}) as { selector?: Record<string, string> };
    if (selector && Object.keys(selector).length > 0)
      return isEndpoint(withSource('k8s', { matchLabels: selector }), namespaceOf(service), question);
    return addressesBehind(cluster, service).some((address) => isOutsideIn(peer, address));
  });
}

function addressesBehind(cluster: Cluster, service: KubeObject): string[] {
  return ofKind(cluster, 'EndpointSlice')
    .filter((slice) => namespaceOf(slice) === namespaceOf(service))
    .filter(({ metadata }) => metadata.labels?.['kubernetes.io/service-name'] === service.metadata.name)
    .flatMap((slice) => (slice.endpoints ?? []) as { addresses?: string[] }[])
    .flatMap(({ addresses = [] }) => addresses);
}

/** A rule without a proxy's part beats one that needs it. */
function matchPorts(rules: readonly PortRule[], question: Question): Match {
  const matching = rules.filter(({ ports = [] }) => ports.some((port) => isPort(port, question)));
  if (matching.length === 0) return 'no';
  return matching.some((rule) => !needsProxy(rule)) ? 'yes' : 'redirected';
}

/** Rules that are all empty ask nothing of a proxy. */
const needsProxy = ({ rules = {}, listener, terminatingTLS, originatingTLS, serverNames = [] }: PortRule): boolean =>
  Object.values(rules).some((part) => typeof part === 'string' || (Array.isArray(part) && part.length > 0)) ||
  [listener, terminatingTLS, originatingTLS].some((part) => part !== undefined) ||
  serverNames.length > 0;

type Port = NonNullable<PortRule['ports']>[number];

function isPort({ port: text = '', endPort, protocol = 'ANY' }: Port, question: Question): boolean {
  const wanted = protocol.toUpperCase();
  const reachable = wanted === 'ANY' ? ['TCP', 'UDP', 'SCTP'] : [wanted];
  if (!reachable.includes(question.protocol)) return false;
  if (text !== '' && !/^\d+$/.test(text)) return namedPorts(text, question).includes(question.port);
  const first = Number(text);
  if (first === 0) return true;
  return question.port >= first && question.port <= Math.max(first, endPort ?? first);
}

interface ContainerPort {
  name?: string;
  containerPort: number;
  protocol?: string;
}

/** Numbers of a named port, on the pod that is the destination. */
export function namedPorts(name: string, { direction, subject, peer, protocol }: Question): number[] {
  const target = direction === 'ingress' ? subject : peer;
  if (target.kind !== 'pod') return [];
  const { containers = [] } = (target.pod.spec ?? {}) as { containers?: { ports?: ContainerPort[] }[] };
  return containers
    .flatMap(({ ports = [] }) => ports)
    .filter((port) => port.name?.toLowerCase() === name.toLowerCase() && (port.protocol ?? 'TCP') === protocol)
    .map(({ containerPort }) => containerPort);
}

function isIcmp({ fields = [] }: IcmpRule, { protocol, port }: Question): boolean {
  return fields.some(({ family = 'IPv4', type }) => {
    if (protocol !== (family === 'IPv6' ? 'ICMPV6' : 'ICMP')) return false;
    return icmpType(family, type) === port;
  });
}

const icmpNames: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  IPv4: {
    EchoReply: 0,
    DestinationUnreachable: 3,
    Redirect: 5,
    Echo: 8,
    EchoRequest: 8,
    RouterAdvertisement: 9,
    RouterSelection: 10,
    TimeExceeded: 11,
    ParameterProblem: 12,
    Timestamp: 13,
    TimestampReply: 14,
    Photuris: 40,
    ExtendedEchoRequest: 42,
    ExtendedEcho: 42,
    ExtendedEchoReply: 43,
  },
  IPv6: {
    DestinationUnreachable: 1,
    PacketTooBig: 2,
    TimeExceeded: 3,
    ParameterProblem: 4,
    EchoRequest: 128,
    EchoReply: 129,
    MulticastListenerQuery: 130,
    MulticastListenerReport: 131,
    MulticastListenerDone: 132,
    RouterSolicitation: 133,
    RouterAdvertisement: 134,
    NeighborSolicitation: 135,
    NeighborAdvertisement: 136,
    RedirectMessage: 137,
  },
};

function icmpType(family: string, type: number | string): number | undefined {
  if (typeof type === 'number') return type;
  return /^\d+$/.test(type) ? Number(type) : icmpNames[family]?.[type];
}
