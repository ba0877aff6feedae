/**
 * Everything that can happen to a node, as one closed union: the vocabulary of the ordered log.
 *
 * - An event carries all that a machine may know of the outside: time, ids and errnos included.
 * - Events are JSON; a log of them replays exactly.
 * - `topicsOf` says who hears an event; a fact (an object, a link) is retained per topic until it is deleted.
 */

import type { LocalEndpointRow, LocalPolicyRow } from '../state/tables.ts';

/** A Kubernetes object as watched: managedFields are stripped, nothing else is assumed. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    creationTimestamp?: string;
    deletionTimestamp?: string;
  };
  [field: string]: unknown;
}

/** Plural resource names, as in the REST path, that the agent watches. */
export type KubeResource = 'pods' | 'namespaces' | 'nodes' | 'ciliumidentities' | (string & {});

export interface KubeUpserted {
  type: 'kube.upserted';
  resource: KubeResource;
  object: KubeObject;
}
export interface KubeDeleted {
  type: 'kube.deleted';
  resource: KubeResource;
  object: KubeObject;
}

/** What feeds the log. A source that has finished its first list is `synced`; deletes of orphans wait for that. */
export type Source = 'local' | 'links' | 'kernel' | `kube/${string}`;
export interface SourceSynced {
  type: 'source.synced';
  source: Source;
}

/** The agent started: its configuration, without secrets, and what this node can do. */
export interface AgentStarted {
  type: 'agent.started';
  config: AgentFacts;
}
export interface AgentFacts {
  nodeName: string;
  clusterName: string;
  /** Names of the native devices, or empty: those that carry a default route or the node's own addresses. */
  devices: string[];
  ipv4: boolean;
  ipv6: boolean;
  masquerade: boolean;
  /** MTU of pod interfaces; 0: the smallest MTU of the native devices. */
  mtu: number;
  /** Of new pods. Absent: veth. */
  podDevice?: 'netkit';
  /** Content hash of the loaded BPF object: program attachments name it, so a new one replaces the old atomically. */
  datapathBuild: string;
  /** Absent in recordings of before there were services: mode off. */
  services?: ServiceFacts;
  /** Absent in recordings of before there were policies: nothing is enforced, and nobody waits for policy. */
  policy?: PolicyFacts;
  /** Absent in recordings of before there were many nodes: native, nothing encrypted, nobody probed. */
  routing?: RoutingFacts;
  encryption?: EncryptionFacts;
  health?: HealthFacts;
  /** Changes with each boot of the machine; published for other nodes. */
  bootId?: string;
}

/** How pods of other nodes are reached. */
export interface RoutingFacts {
  /** native: the network between the nodes knows where pods are, or `autoDirectNodeRoutes` makes that so. */
  mode: 'native' | 'vxlan' | 'geneve';
  /** UDP port of the tunnel; 0 with mode native. */
  tunnelPort: number;
  /** Family of the node addresses that tunnels and encryption run between; auto: IPv4 where both ends have it. */
  underlay: 'ipv4' | 'ipv6' | 'auto';
  /** A route to each node's pod range by way of that node, which must be on a network of this one's. */
  autoDirectNodeRoutes: boolean;
  /** What is in them is not masqueraded, and the network routes it; empty: pods leave the cluster everywhere else. */
  nativeCidr4: string;
  nativeCidr6: string;
}

export interface EncryptionFacts {
  type: 'none' | 'wireguard' | 'ipsec';
  /** Pod traffic is never sent in clear to another node, also while its keys are not known. */
  strict: boolean;
  /** What nodes themselves send to each other is encrypted too (WireGuard). */
  nodeEncryption: boolean;
  wireguardPort: number;
  /** A key that was replaced is accepted for so long. */
  rotationGraceMs: number;
}

export interface HealthFacts {
  enabled: boolean;
  /** Between two probes of one address. */
  intervalMs: number;
  /** HTTP of the agent and of its health endpoint. */
  port: number;
  /** There is a health endpoint; without, the node's gateway answers for its pods. */
  endpoint?: boolean;
}

export interface PolicyFacts {
  /** always: endpoints that no rule selects are denied everything too; never: rules are ignored. */
  enforcement: 'default' | 'always' | 'never';
  /** What policy denies passes, with an event that says so. */
  audit: boolean;
  /** Rules with a nodeSelector are about this node. */
  hostFirewall: boolean;
  /** The node reaches its pods unless a rule denies it. */
  allowLocalhost: boolean;
  /** Capacity of an endpoint's policy map. */
  entriesMax: number;
  /** Other nodes are told apart by their labels: each has an identity of its own. */
  nodeSelectorLabels?: boolean;
  /** An endpoint whose labels change keeps its identity until the new one is this old: other nodes know it by then. */
  identityChangeGraceMs?: number;
  /** Patterns beside the built-in ones; see policy/labels.ts. */
  labels?: readonly string[];
}

/** What of services this node does, already decided: strict does all parts, partial those that were asked for, off none. */
export interface ServiceFacts {
  mode: 'strict' | 'partial' | 'off';
  /** Translation in sockets of pods and host processes. */
  socketLB: boolean;
  nodePort: boolean;
  externalIPs: boolean;
  hostPort: boolean;
  /** Health check node ports are served. */
  healthPorts: boolean;
  xdp: 'off' | 'generic' | 'native' | 'best-effort';
  /** How packets from outside reach a backend on another node. */
  forwarding: 'snat' | 'dsr';
  /** For traffic from outside; inside it is random. */
  algorithm: 'random' | 'maglev';
  maglevTableSize: number;
  /** Node ports are on node addresses in these CIDRs, or `primary`: those of the Node object; empty: on all. Loopback always has them. */
  nodePortAddresses: string[];
  /** Load balancers of these classes, and those without a class, are served. */
  loadBalancerClasses: string[];
  /** Sockets of processes in this cgroup are translated: a directory of cgroup v2. */
  cgroupRoot: string;
  /** Hooks of the cgroup that this kernel has and the mode wants, such as `connect4`; none without `socketLB`. */
  sockHooks: readonly string[];
}

/** CNI ADD reached the agent. `endpointId` was allocated at the edge (16 bit, unique on the node, survives restarts). */
export interface CniAdd {
  type: 'cni.add';
  requestId: string;
  containerId: string;
  netns: string;
  ifname: string;
  podNamespace: string;
  podName: string;
  podUid: string;
  endpointId: number;
}
export interface CniDel {
  type: 'cni.del';
  requestId: string;
  containerId: string;
  ifname: string;
}

/** A link of the node's own namespace exists or changed (rtnetlink). */
export interface LinkUpserted {
  type: 'link.upserted';
  link: LinkFacts;
}
export interface LinkFacts {
  name: string;
  kind: string;
  mac: string;
  mtu: number;
  up: boolean;
  /** Global-scope addresses with prefix length, sorted. */
  addresses: string[];
  /** A default route of any family leaves through this link. */
  defaultRoute: boolean;
}
export interface LinkDeleted {
  type: 'link.deleted';
  name: string;
}

/** Endpoints that survived in SQLite, read at start before anything else. */
export interface LocalRestored {
  type: 'local.restored';
  endpoints: LocalEndpointRow[];
  /** Local identities of CIDRs, by CIDR: connections and map entries name them, so they keep their numbers. */
  cidrIdentities?: Record<string, number>;
  /** Numbers of other nodes, by address. */
  nodeIds?: Record<string, number>;
  /** Keys of IPsec that associations in the kernel have, the oldest first. */
  ipsecKeys?: IpsecKey[];
  /** What was in force. */
  policies?: LocalPolicyRow[];
  /** Where the search for a free address, and for a free number of a CIDR, goes on; only in frames of recordings. */
  nextAddress?: number;
  nextCidr?: number;
}
/** A driver reports: one result for each op of a step, in order. */
export interface OpsDone {
  type: 'ops.done';
  results: OpDone[];
}
export interface OpDone {
  table: string;
  key: string;
  action: 'put' | 'delete';
  /** The row's revision that the op was made for; a result for an older revision says nothing of the newer one. */
  revision: number;
  error?: OpError;
}
/** Why an op failed. `errno` is the symbolic name, or an HTTP status for the API server. */
export interface OpError {
  kind: 'kernel' | 'kube' | 'cancelled' | 'invalid';
  errno: string;
  message: string;
  retryable: boolean;
}

/** A driver dumped what is really there; only differences from the recorded actual state are listed. */
export interface Observed {
  type: 'observed';
  table: string;
  /** `value: null` says that the row is gone. */
  changes: { key: string; value: unknown }[];
}

export interface TimerFired {
  type: 'timer.fired';
  key: string;
}

/** This node's WireGuard key pair, made at the first start or replaced since: its public half. */
export interface WireguardKeyed {
  type: 'wireguard.keyed';
  publicKey: string;
}

/** The keys of IPsec's Secret, without the keys: the last one is to be used, the others are accepted. */
export interface IpsecKeyed {
  type: 'ipsec.keyed';
  keys: IpsecKey[];
}
export interface IpsecKey {
  /** 1 to 15; it is the SPI. */
  id: number;
  /** So that another key with the same id is seen to be another. */
  fingerprint: string;
}

/** What probing a node found: said when an answer differs from what was said last of its probe. */
export interface HealthProbed {
  type: 'health.probed';
  node: string;
  /** `probe` is the key of its row in `health.probes`; no error: it answered. */
  results: { probe: string; error?: string }[];
}

export type ClusterEvent =
  | KubeUpserted
  | KubeDeleted
  | SourceSynced
  | AgentStarted
  | CniAdd
  | CniDel
  | LinkUpserted
  | LinkDeleted
  | LocalRestored
  | OpsDone
  | Observed
  | TimerFired
  | WireguardKeyed
  | IpsecKeyed
  | HealthProbed;

/** One line of the log. `at` is wall-clock milliseconds since the epoch, taken when the event entered the queue. */
export interface LogEntry {
  seq: number;
  at: number;
  source: string;
  event: ClusterEvent;
}

/** `namespace/name`, or `name` for cluster-scoped objects. */
export function objectKey(object: KubeObject): string {
  const { namespace, name } = object.metadata;
  return namespace ? `${namespace}/${name}` : name;
}

/** The canonical text of a label set: sorted, `source:key=value;` each (the kvstore key form). */
export function labelsKey(labels: Readonly<Record<string, string>>): string {
  return Object.keys(labels)
    .sort()
    .map((key) => `${key}=${labels[key]};`)
    .join('');
}

const isOfEndpoints = (resource: KubeResource): boolean =>
  resource === 'ciliumendpoints' || resource === 'ciliumendpointslices';

/** The nodes, by address, that a CiliumEndpoint or a slice of them names: who is no subscriber of them need not hear of it. */
function nodesOfEndpoints(object: KubeObject): string[] {
  const { status, endpoints } = object as { status?: unknown; endpoints?: unknown };
  const all: unknown[] = Array.isArray(endpoints) ? endpoints : [status];
  const nodes = all.map((one) => (one as { networking?: { node?: unknown } } | null | undefined)?.networking?.node);
  return [...new Set(nodes.filter((node): node is string => typeof node === 'string' && node !== ''))];
}

/** A fact is retained under its topic and handed to machines that subscribe later; an occurrence is heard once. */
export interface TopicRef {
  topic: string;
  /** Identifies the fact within its topic; absent for an occurrence. */
  fact?: string;
  /** The fact ended. */
  gone?: boolean;
}

/** Both states of an object are heard under the same topics; asked at each event, so that it need not list them. */
export function keepsTopics(resource: KubeResource, before: KubeObject, now: KubeObject): boolean {
  if (isOfEndpoints(resource) || resource === 'ciliumidentities') return false;
  return resource !== 'endpointslices' || serviceOfSlice(before) === serviceOfSlice(now);
}
const serviceOfSlice = ({ metadata }: KubeObject): string | undefined =>
  metadata.labels?.['kubernetes.io/service-name'];

/** Who hears this event. */
export function topicsOf(event: ClusterEvent): TopicRef[] {
  switch (event.type) {
    case 'kube.upserted':
    case 'kube.deleted': {
      const key = objectKey(event.object);
      const fact = { fact: `${event.resource}/${key}`, gone: event.type === 'kube.deleted' };
      if (isOfEndpoints(event.resource))
        return [
          { topic: `every/${event.resource}`, ...fact },
          ...nodesOfEndpoints(event.object).map((node) => ({ topic: `endpoints-of/${node}`, ...fact })),
        ];
      const topics: TopicRef[] = [
        { topic: `${event.resource}/${key}`, ...fact },
        { topic: `every/${event.resource}`, ...fact },
      ];
      const service = event.resource === 'endpointslices' && serviceOfSlice(event.object);
      if (service) topics.push({ topic: `slices/${event.object.metadata.namespace}/${service}`, ...fact });
      if (event.resource === 'ciliumidentities') {
        const labels = event.object['security-labels'] as Record<string, string> | undefined;
        topics.push({ topic: `identity-objects/${labelsKey(labels ?? {})}`, ...fact });
      }
      return topics;
    }
    case 'agent.started':
      return [{ topic: 'agent', fact: 'agent' }];
    case 'cni.add':
    case 'cni.del':
      return [{ topic: `container/${event.containerId}/${event.ifname}` }];
    case 'link.upserted':
      return [{ topic: `link/${event.link.name}`, fact: event.link.name }];
    case 'link.deleted':
      return [{ topic: `link/${event.name}`, fact: event.name, gone: true }];
    case 'local.restored':
      return [{ topic: 'local' }];
    case 'source.synced':
      return [{ topic: `source/${event.source}`, fact: event.source }];
    case 'timer.fired':
      return [{ topic: `timer/${event.key}` }];
    case 'wireguard.keyed':
      return [{ topic: 'wireguard-key', fact: 'key' }];
    case 'ipsec.keyed':
      return [{ topic: 'ipsec-keys', fact: 'keys' }];
    case 'health.probed':
      return [{ topic: `health/${event.node}` }];
    case 'ops.done':
    case 'observed':
      return [];
  }
}
