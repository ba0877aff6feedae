/**
 * Who talks to whom, made of flows: workloads and the edges between them; pure but for what it is told.
 *
 * - An edge leads from client to server: flows of the answering direction are turned around.
 * - Bounded: the edge that was idle longest makes room for a new one; edges that were idle for long are forgotten.
 * - Several nodes' maps merge: ends are named by what they are, not by who saw them.
 * - A packet is seen at several places, on its way and on both nodes: an edge has as many flows as the place that saw most of them.
 */
import type { Flow, FlowEndpoint } from '../hubble/types.ts';

export interface MapNode {
  /** `namespace/name`, or the name of a reserved identity or a range of addresses. */
  id: string;
  kind: 'workload' | 'world' | 'node' | 'other';
  namespace: string;
  name: string;
  pods: string[];
  /** Filter words that select it at either end, without `from-` or `to-`. */
  words: [flag: string, value: string][];
}

export interface MapEdge {
  from: string;
  to: string;
  protocol: string;
  /** Of the server; 0: none. */
  port: number;
  verdict: 'forwarded' | 'denied' | 'audit';
  flows: number;
  /** By place, such as `TO_ENDPOINT` and, of answers, `TO_ENDPOINT back`: what `flows` is made of. */
  seen: Record<string, number>;
  /** Why it was dropped, by count. */
  reasons: Record<string, number>;
  policies: string[];
  /** The service through which the server was reached; ''. */
  service: string;
  /** Milliseconds since the epoch. */
  last: number;
}

export interface ServiceMapView {
  nodes: MapNode[];
  edges: MapEdge[];
}

/** Of `event_type`. */
const DROP = 1;
const POLICY_VERDICT = 5;

const EDGES_MAX = 5_000;
const IDLE_MS = 10 * 60_000;
const PODS_MAX = 64;
const NAMES_MAX = 8;
const NAMESPACE_LABEL = 'k8s:io.kubernetes.pod.namespace=';
const API_SERVER = 'reserved:kube-apiserver';
/** Labels that name a workload, best first. */
const NAME_LABELS = ['k8s:app.kubernetes.io/name', 'k8s:app', 'k8s:k8s-app', 'k8s:name'];

export class ServiceMap {
  readonly #nodes = new Map<string, MapNode & { seen: Set<string> }>();
  readonly #edges = new Map<string, MapEdge>();

  add(flow: Flow): void {
    // Every kernel with IPv6 asks its links for routers and groups: that says nothing of the workload.
    if (flow.IP?.destination.startsWith('ff02::')) return;
    // A socket that asks for a service: its packets follow, to the backend that was chosen.
    if (flow.Type === 'SOCK') return;
    const isReply = flow.is_reply?.value === true || isEchoReply(flow);
    const ports = flow.l4?.TCP ?? flow.l4?.UDP ?? flow.l4?.SCTP;
    const port = (isReply ? ports?.source_port : ports?.destination_port) ?? 0;
    const source = this.#node(flow.source);
    const destination = this.#node(flow.destination);
    const [from, to] = isReply ? [destination, source] : [source, destination];
    const verdict = verdictOf(flow);
    const protocol = protocolOf(flow);
    const key = `${from} ${to} ${protocol} ${port} ${verdict}`;
    const service = isReply ? flow.source_service : flow.destination_service;
    const edge = this.#edges.get(key) ?? {
      from,
      to,
      protocol,
      port,
      verdict,
      flows: 0,
      seen: {},
      reasons: {},
      policies: [],
      service: '',
      last: 0,
    };
    const place = placeOf(flow, isReply);
    edge.seen[place] = (edge.seen[place] ?? 0) + 1;
    edge.flows = most(edge.seen);
    edge.last = Math.max(edge.last, flow.time.seconds * 1000 + Math.floor(flow.time.nanos / 1e6));
    if (service) edge.service = `${service.namespace}/${service.name}`;
    // A policy's verdict is followed by the drop itself.
    const reason = flow.event_type.type === POLICY_VERDICT ? undefined : flow.drop_reason_desc;
    if (reason) edge.reasons[reason] = (edge.reasons[reason] ?? 0) + 1;
    learnPolicies(edge, flow);
    // The newest last, so that the first is the one idle longest.
    this.#edges.delete(key);
    this.#edges.set(key, edge);
    if (this.#edges.size > EDGES_MAX) this.#edges.delete(this.#edges.keys().next().value ?? '');
  }

  view(now: number): ServiceMapView {
    for (const [key, { last }] of this.#edges) if (last < now - IDLE_MS) this.#edges.delete(key);
    const used = new Set([...this.#edges.values()].flatMap(({ from, to }) => [from, to]));
    for (const key of this.#nodes.keys()) if (!used.has(key)) this.#nodes.delete(key);
    const named = (key: string): string => this.#nodes.get(key)?.id ?? key;
    const nodes = [...this.#nodes.values()].map(({ seen, ...node }) => ({ ...node, pods: [...seen].sort() }));
    const edges = [...this.#edges.values()].map((edge) => ({ ...edge, from: named(edge.from), to: named(edge.to) }));
    return merged([{ nodes, edges }]);
  }

  #node(end: FlowEndpoint): string {
    const node = nodeOf(end);
    // The labels of an identity may be known only after its first flows: what is no workload gets its name later.
    const key = node.kind === 'workload' ? node.id : `#${end.identity}`;
    const known = this.#nodes.get(key);
    const seen = known?.seen ?? new Set<string>();
    if (!known || known.id !== node.id) this.#nodes.set(key, { ...node, seen });
    if (end.pod_name && seen.size < PODS_MAX) seen.add(end.pod_name);
    return key;
  }
}

export function merged(views: readonly ServiceMapView[]): ServiceMapView {
  const nodes = new Map<string, MapNode>();
  const edges = new Map<string, MapEdge>();
  for (const node of views.flatMap((view) => view.nodes)) {
    const known = nodes.get(node.id);
    nodes.set(node.id, known ? { ...known, pods: [...new Set([...known.pods, ...node.pods])].sort() } : node);
  }
  for (const edge of views.flatMap((view) => view.edges)) {
    const key = `${edge.from} ${edge.to} ${edge.protocol} ${edge.port} ${edge.verdict}`;
    const known = edges.get(key);
    edges.set(key, known ? sum(known, edge) : edge);
  }
  return { nodes: [...nodes.values()], edges: [...edges.values()] };
}

function sum(one: MapEdge, other: MapEdge): MapEdge {
  const seen = added(one.seen, other.seen);
  return {
    ...one,
    reasons: added(one.reasons, other.reasons),
    seen,
    flows: most(seen),
    last: Math.max(one.last, other.last),
    policies: [...new Set([...one.policies, ...other.policies])].slice(0, NAMES_MAX),
    service: one.service || other.service,
  };
}

function added(one: Readonly<Record<string, number>>, other: Readonly<Record<string, number>>): Record<string, number> {
  const all = { ...one };
  for (const [key, count] of Object.entries(other)) all[key] = (all[key] ?? 0) + count;
  return all;
}

const most = (seen: Readonly<Record<string, number>>): number => Math.max(0, ...Object.values(seen));

/** Where on its way a packet was seen: at a point, where policy decided, or where it was dropped. */
function placeOf({ event_type, trace_observation_point, traffic_direction }: Flow, isReply: boolean): string {
  const { type } = event_type;
  const place =
    type === POLICY_VERDICT
      ? `policy ${traffic_direction}`
      : (trace_observation_point ?? (type === DROP ? 'drop' : 'other'));
  return isReply ? `${place} back` : place;
}

function nodeOf({ namespace, labels, pod_name, identity, workloads }: FlowEndpoint): MapNode {
  const space = namespace || labels.find((label) => label.startsWith(NAMESPACE_LABEL))?.slice(NAMESPACE_LABEL.length);
  if (space) {
    const label = NAME_LABELS.map((name) => labels.find((one) => one.startsWith(`${name}=`))).find(Boolean);
    // Labels first: every node knows them, and only a pod's own node knows its owner.
    const owner = workloads?.find(({ kind }) => kind !== 'Pod')?.name;
    const name = label?.slice(label.indexOf('=') + 1) || owner || withoutSuffix(pod_name) || 'unknown';
    const words: MapNode['words'] = [['namespace', space], label ? ['label', label] : ['pod', `${space}/${name}`]];
    return { id: `${space}/${name}`, kind: 'workload', namespace: space, name, pods: [], words };
  }
  // However many addresses it has, of which each is a range with an identity of its own.
  if (labels.includes(API_SERVER))
    return {
      id: 'kube-apiserver',
      kind: 'other',
      namespace: '',
      name: 'kube-apiserver',
      pods: [],
      words: [['label', API_SERVER]],
    };
  const special = labels.find((label) => /^(cidr|fqdn|cidrgroup):/.test(label));
  const reserved = labels.find((label) => label.startsWith('reserved:'))?.slice('reserved:'.length);
  const name = special?.slice(special.indexOf(':') + 1) ?? reserved ?? (identity > 0 ? String(identity) : 'unknown');
  const kind = special || name.startsWith('world') ? 'world' : /^(host|remote-node)$/.test(name) ? 'node' : 'other';
  return { id: name, kind, namespace: '', name, pods: [], words: [['identity', String(identity)]] };
}

/** `web-7f9c5d6b8-x2x4z`, `web-x2x4z` and `web-0` are of `web`. */
const withoutSuffix = (pod: string): string =>
  pod.replace(/-[0-9a-f]{8,10}-[0-9a-z]{5}$/, '').replace(/-([0-9]{1,4}|[bcdfghjklmnpqrstvwxz2456789]{5})$/, '');

function protocolOf({ l4 }: Flow): string {
  if (l4?.TCP) return 'TCP';
  if (l4?.UDP) return 'UDP';
  if (l4?.SCTP) return 'SCTP';
  return l4 ? 'ICMP' : 'other';
}

const isEchoReply = ({ l4 }: Flow): boolean => l4?.ICMPv4?.type === 0 || l4?.ICMPv6?.type === 129;

function verdictOf({ verdict }: Flow): MapEdge['verdict'] {
  if (verdict === 'DROPPED' || verdict === 'ERROR') return 'denied';
  return verdict === 'AUDIT' ? 'audit' : 'forwarded';
}

function learnPolicies(edge: MapEdge, flow: Flow): void {
  for (const list of [flow.egress_allowed_by, flow.ingress_allowed_by, flow.egress_denied_by, flow.ingress_denied_by])
    for (const { namespace, name } of list ?? []) {
      const policy = namespace ? `${namespace}/${name}` : name;
      if (edge.policies.length < NAMES_MAX && !edge.policies.includes(policy)) edge.policies.push(policy);
    }
}
