/**
 * The tables that the outside world is made of: their rows, their order and what may delete from them.
 *
 * - A row is `{table, key, value}`; keys are text for people, values plain JSON. Fields of BPF rows bear the
 *   names of the C struct in camelCase; links are named, never numbered.
 * - `rank` orders a plan: puts go up the ranks, deletes go down, so a referent exists before and after what refers to it.
 *   A `deleteRank` departs from that where the kernel itself takes the row along with its referent.
 * - An orphan (actual, but not desired by anyone since the start) is deleted only when all `sources` have synced.
 */

/** veth pair. Key: name of the end in the node's namespace. */
export interface LinkRow {
  kind: 'veth';
  mac: string;
  mtu: number;
  /** `netns` is a path, or empty for the node's own namespace. */
  peer: { name: string; mac: string; netns: string };
}
/** Key: the path under /proc/sys with dots, e.g. `net.ipv4.ip_forward`. Deleting leaves the value as it is. */
export interface SysctlRow {
  value: string;
}
/** Key: `[netns|]dev|address`, e.g. `cilium_host|10.0.0.1/32`; see `addrKey`. */
export interface AddrRow {
  netns: string;
  dev: string;
  address: string;
}
/** Key: `[netns|]dst`; see `routeKey`. Scope is link without `via`, global with it; `via` is on-link. */
export interface RouteRow {
  /** `unreachable` answers with an ICMP error and has no `dev`. */
  type: 'unicast' | 'unreachable';
  netns: string;
  dst: string;
  dev: string;
  via: string;
  src: string;
  /** 0: the device's. */
  mtu: number;
}
/** `netdevs` map. Key: link name. Addresses are what masquerading uses; empty: none of that family. */
export interface NetdevRow {
  ipv4: string;
  ipv6: string;
  mac: string;
  flags: number;
}
/** `endpoints` map. Key: address without prefix length. */
export interface EndpointRow {
  link: string;
  identity: number;
  id: number;
  /** 1 ingress is enforced, 2 egress, 4 audit. */
  flags: number;
  /** Added to the node's revision of policy; see bpf/lib/structs.h. */
  policyRevision: number;
  mac: string;
  hostMac: string;
}
/** `ipcache` map. Key: CIDR. `tunnelEndpoint` empty: not behind a tunnel. */
export interface IpcacheRow {
  identity: number;
  tunnelEndpoint: string;
  encryptKey: number;
  flags: number;
}
/** A program at a hook. Key: `dev/ingress` or `dev/egress`. `build` is the BPF object's content hash. */
export interface AttachmentRow {
  dev: string;
  direction: 'ingress' | 'egress';
  program: 'from_endpoint' | 'to_endpoint' | 'from_netdev' | 'to_netdev';
  build: string;
}
/** The program at the XDP hook of a native device. Key: link name. */
export interface XdpAttachmentRow {
  dev: string;
  program: 'xdp_netdev';
  /** `best-effort`: native where the device's driver can, else generic. */
  mode: 'native' | 'generic' | 'best-effort';
  build: string;
}
/** A program at a hook of a cgroup: it sees the sockets of the processes in it. Key: the hook, e.g. `connect4`. */
export interface CgroupAttachmentRow {
  /** Directory of cgroup v2. */
  cgroup: string;
  program: string;
  build: string;
}
/** A numeric identity is wanted for a label set (sorted `source:key=value` list). Key: its canonical text. */
export interface IdentityClaimRow {
  labels: Record<string, string>;
  namespace: string;
}
/** An object we own on the API server. Key: `resource/[namespace/]name`. */
export interface KubeObjectRow {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string>; ownerReferences?: unknown[] };
  [field: string]: unknown;
}
/** An answer to a CNI request. Key: request id. */
export interface CniReplyRow {
  result?: unknown;
  error?: { code: number; msg: string; details: string };
}
/** Wakes a machine. Key: `machine key/name`; fires once as `timer.fired`. */
export interface TimerRow {
  dueMs: number;
}
/** What must survive a restart of an endpoint. Key: `containerId/ifname`. Actual state is SQLite itself. */
export interface LocalEndpointRow {
  endpointId: number;
  containerId: string;
  netns: string;
  ifname: string;
  link: string;
  mac: string;
  podNamespace: string;
  podName: string;
  podUid: string;
  ipv4: string;
  ipv6: string;
  identity: number;
  labels: string[];
  /** Of the `endpoints` map: what was enforced last is enforced until policy is known again. Absent in rows of before there was policy. */
  flags?: number;
  /** As when the endpoint was wired, so that it can be restored without the API server. */
  gateway4: string;
  gateway6: string;
  mtu: number;
}

/**
 * `backends` map. Key: `10.0.1.5:8080/TCP` or `[fd00::5]:8080/TCP`; see `backendKey`. The driver gives it its number, which it keeps
 * while the row is there. In place as long as any slice names it, terminating or not.
 */
export interface BackendRow {
  address: string;
  port: number;
  protocol: Protocol;
}
export type Protocol = 'TCP' | 'UDP' | 'SCTP';
/**
 * The backends that new connections are spread over: `backend_sets`, `backend_slots`, `affinity_matches` and, for Maglev, `maglev` maps.
 * Key: `namespace/service:portName/IPv4` or `…/IPv6`, with `/local` for those of this node only; shared by the frontends of a port.
 */
export interface BackendSetRow {
  /** Keys of `bpf.backends`, sorted: every node builds the same Maglev table. Empty: new connections are refused. */
  backends: string[];
  /** Slots of the Maglev table, a prime of `maglevSizes`; 0: random choice. */
  maglevSize: number;
  /** Seconds; 0: no session affinity. */
  affinityTimeout: number;
}
/** `frontends` map. Key: `10.96.0.10:53/UDP` or `[fd00::a]:53/UDP`; see `frontendKey`. */
export interface FrontendRow {
  type: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalIP' | 'HostPort';
  /** `namespace/name`; of a HostPort the pod's. */
  service: string;
  portName: string;
  /** Key of `bpf.backend-sets` for connections from this node: its pods and its host processes. */
  internalSet: string;
  /** The same for connections from outside the node. */
  externalSet: string;
  /** externalTrafficPolicy Local: the client's address is kept, the packet is never sent on to another node. */
  externalLocal: boolean;
  /** Only clients in `bpf.source-ranges` of this frontend. */
  sourceRanges: boolean;
  /** How packets from outside reach a backend on another node. */
  forwarding: 'snat' | 'dsr';
}
/** `source_ranges` map. Key: `frontendKey|cidr`. */
export interface SourceRangeRow {
  frontend: string;
  cidr: string;
}
/** HTTP on a health check node port, as kube-proxy serves it. Key: port number. */
export interface HealthCheckRow {
  namespace: string;
  service: string;
  localEndpoints: number;
}
/** The last valid version of a policy object that is not valid as it is. Key: `kind/namespace/name`. Actual state is SQLite itself. */
export interface LocalPolicyRow {
  /** `Policy` of policy/rule.ts. */
  policy: unknown;
}
/** The status of an object that is not ours; fields that are not named stay. Key: `resource/[namespace/]name`. */
export interface KubeStatusRow {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string };
  status: Record<string, unknown>;
}
/** The policy map of one endpoint. Key: endpoint id. */
export interface PolicyMapRow {
  entriesMax: number;
}
/**
 * One entry of an endpoint's policy map. Key: `endpointId|direction|identity|protocol|port`, see `policyEntryKey`; identity 0 is any,
 * protocol `ANY` and port `*` are wildcards, `8000/13` are the ports that share the first 13 bits with 8000, an ICMP type is a port.
 */
export interface PolicyEntryRow {
  deny: boolean;
  /** Higher wins; see reference/policy-semantics.md, section 1. */
  precedence: number;
  /** Names the set of `origins` in verdict events: a hash of them, never 0. */
  cookie: number;
  /** Policy objects that this entry comes from, as `kind/namespace/name`, sorted. */
  origins: string[];
}

export interface Tables {
  'local.endpoints': LocalEndpointRow;
  'local.policies': LocalPolicyRow;
  sysctls: SysctlRow;
  links: LinkRow;
  attachments: AttachmentRow;
  addrs: AddrRow;
  routes: RouteRow;
  'bpf.netdevs': NetdevRow;
  'bpf.ipcache': IpcacheRow;
  'bpf.endpoints': EndpointRow;
  'bpf.policy-maps': PolicyMapRow;
  'bpf.policy': PolicyEntryRow;
  'bpf.backends': BackendRow;
  'bpf.backend-sets': BackendSetRow;
  'bpf.frontends': FrontendRow;
  'cgroup.attachments': CgroupAttachmentRow;
  'xdp.attachments': XdpAttachmentRow;
  'bpf.source-ranges': SourceRangeRow;
  'health.checks': HealthCheckRow;
  'identity.claims': IdentityClaimRow;
  'kube.objects': KubeObjectRow;
  'kube.status': KubeStatusRow;
  'cni.replies': CniReplyRow;
  timers: TimerRow;
}
export type TableName = keyof Tables;

export type Row = { [T in TableName]: { table: T; key: string; value: Tables[T] } }[TableName];

/** Ops of the kernel lane run one after the other, in plan order; the other lanes run beside it and nothing waits for them. */
export type Lane = 'kernel' | 'kube' | 'edge';

export interface TableDef {
  rank: number;
  deleteRank?: number;
  lane: Lane;
  /** Rows survive the agent in the world outside, and so in SQLite. */
  durable: boolean;
  /** Orphans are deleted when these have synced. */
  sources: readonly string[];
  /** Machines are settled without it and do not hear of its failures, which are tried again at each resync. */
  unawaited?: true;
  /**
   * Order among puts of this table, low first; deletes go the other way. For rows that are only safe after others of their table.
   */
  within?(value: unknown): number;
  /** BPF map behind the table, its default capacity, and what the rows are. */
  map?: { name: string; entriesMax: number };
  doc: string;
}

const NODE = ['local', 'links', 'kube/nodes'] as const;
const ENDPOINTS = ['local'] as const;
const SERVICES = ['local', 'links', 'kube/services', 'kube/endpointslices', 'kube/nodes', 'kube/pods'] as const;
const POLICIES = [
  ...ENDPOINTS,
  'kube/pods',
  'kube/namespaces',
  'kube/ciliumidentities',
  'kube/networkpolicies',
  'kube/ciliumnetworkpolicies',
  'kube/ciliumclusterwidenetworkpolicies',
  'kube/ciliumcidrgroups',
] as const;

/** Denials are put before allowances and deleted after them: no prefix of a plan lets through what neither end of it does. */
const denialsFirst = (value: unknown): number => ((value as PolicyEntryRow | undefined)?.deny ? 0 : 1);

export const tables: { readonly [T in TableName]: TableDef } = {
  'local.endpoints': {
    // First to come and last to go, in order with the rows that it accounts for: what a dead agent leaves has an owner.
    rank: 0,
    lane: 'kernel',
    durable: true,
    sources: ENDPOINTS,
    doc: 'endpoints that survive a restart',
  },
  'local.policies': {
    rank: 1,
    lane: 'kernel',
    durable: true,
    sources: POLICIES,
    doc: 'last valid versions of policies that are not valid now',
  },
  sysctls: { rank: 5, lane: 'kernel', durable: true, sources: NODE, doc: 'kernel settings of the node' },
  links: {
    rank: 10,
    lane: 'kernel',
    durable: true,
    sources: [...ENDPOINTS, ...NODE],
    doc: 'virtual links of pods and of the node',
  },
  attachments: {
    rank: 12,
    // A pod's link is never there without its programs: they are attached before it has addresses, and it goes before they do.
    deleteRank: 8,
    lane: 'kernel',
    durable: true,
    sources: [...ENDPOINTS, ...NODE],
    doc: 'programs at hooks',
  },
  addrs: { rank: 20, lane: 'kernel', durable: true, sources: [...ENDPOINTS, ...NODE], doc: 'addresses on our links' },
  routes: {
    rank: 30,
    lane: 'kernel',
    durable: true,
    sources: [...ENDPOINTS, ...NODE],
    doc: 'routes to pods and inside pods',
  },
  'bpf.netdevs': {
    rank: 40,
    lane: 'kernel',
    durable: true,
    sources: NODE,
    map: { name: 'netdevs', entriesMax: 512 },
    doc: 'native devices and the addresses they masquerade with',
  },
  'bpf.ipcache': {
    // After the policy entries: an address is not given a new identity before policy knows that identity.
    rank: 44,
    lane: 'kernel',
    durable: true,
    sources: [...POLICIES, ...NODE],
    map: { name: 'ipcache', entriesMax: 512_000 },
    doc: 'address to identity',
  },
  'bpf.endpoints': {
    rank: 45,
    lane: 'kernel',
    durable: true,
    sources: ENDPOINTS,
    map: { name: 'endpoints', entriesMax: 65_536 },
    doc: 'addresses of this node’s endpoints',
  },
  'bpf.policy-maps': {
    rank: 41,
    lane: 'kernel',
    durable: true,
    sources: POLICIES,
    map: { name: 'policy', entriesMax: 65_536 },
    doc: 'one policy map per endpoint',
  },
  'bpf.policy': {
    rank: 42,
    lane: 'kernel',
    durable: true,
    sources: POLICIES,
    within: denialsFirst,
    map: { name: 'policy_inner', entriesMax: 16_384 },
    doc: 'entries of the endpoints’ policy maps',
  },
  'bpf.backends': {
    rank: 50,
    lane: 'kernel',
    durable: true,
    sources: SERVICES,
    map: { name: 'backends', entriesMax: 65_536 },
    doc: 'where services’ connections go',
  },
  'bpf.backend-sets': {
    rank: 51,
    lane: 'kernel',
    durable: true,
    sources: SERVICES,
    map: { name: 'backend_sets', entriesMax: 65_536 },
    doc: 'the backends that share a service port',
  },
  'bpf.source-ranges': {
    rank: 52,
    lane: 'kernel',
    durable: true,
    sources: SERVICES,
    map: { name: 'source_ranges', entriesMax: 65_536 },
    doc: 'clients that may use a frontend',
  },
  'bpf.frontends': {
    rank: 53,
    lane: 'kernel',
    durable: true,
    sources: SERVICES,
    map: { name: 'frontends', entriesMax: 65_536 },
    doc: 'addresses and ports of services',
  },
  'xdp.attachments': {
    rank: 54,
    lane: 'kernel',
    durable: true,
    sources: NODE,
    doc: 'programs that forward services’ packets before the stack',
  },
  'cgroup.attachments': {
    // Sockets are translated when services are there to translate to, and no longer before they go.
    rank: 55,
    lane: 'kernel',
    durable: true,
    sources: NODE,
    doc: 'programs that translate services in sockets',
  },
  'health.checks': { rank: 81, lane: 'edge', durable: false, sources: [], doc: 'health check node ports' },
  'identity.claims': {
    rank: 60,
    lane: 'kube',
    durable: false,
    sources: [],
    doc: 'label sets that want a numeric identity',
  },
  'kube.objects': {
    rank: 70,
    lane: 'kube',
    durable: true,
    unawaited: true,
    sources: ['kube/pods', 'kube/nodes', 'local'],
    doc: 'objects we own on the API server',
  },
  'kube.status': {
    rank: 71,
    lane: 'kube',
    durable: true,
    unawaited: true,
    sources: POLICIES,
    doc: 'status of objects that others own',
  },
  'cni.replies': { rank: 80, lane: 'edge', durable: false, sources: [], doc: 'answers to CNI requests' },
  timers: { rank: 90, lane: 'edge', durable: false, sources: [], doc: 'wake-ups of machines' },
};

export const tableNames = Object.keys(tables) as TableName[];

export function isTableName(name: string): name is TableName {
  return Object.hasOwn(tables, name);
}

export const addrKey = (row: AddrRow): string => `${row.netns ? `${row.netns}|` : ''}${row.dev}|${row.address}`;
/** `10.0.0.1:80/TCP`, `[fd00::1]:80/TCP`. */
export const backendKey = ({ address, port, protocol }: BackendRow): string =>
  `${address.includes(':') ? `[${address}]` : address}:${port}/${protocol}`;
export const frontendKey = backendKey;
export const policyEntryKey = (
  endpointId: number,
  direction: 'ingress' | 'egress',
  identity: number,
  protocol: string,
  port: string,
): string => `${endpointId}|${direction}|${identity}|${protocol}|${port}`;
export const routeKey = (row: RouteRow): string => `${row.netns ? `${row.netns}|` : ''}${row.dst}`;

/** JSON with sorted keys: equal values have equal text. */
export function canonical(value: unknown): string {
  return JSON.stringify(ordered(value));
}

/** Plain JSON with its keys in order; what is in order already is not copied. */
function ordered(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(ordered);
  const object = value as Record<string, unknown>;
  if (typeof object['toJSON'] === 'function') return ordered(object['toJSON']());
  const keys = Object.keys(object);
  let isOrdered = true;
  for (let i = 0; i < keys.length && isOrdered; i++) {
    const inner = object[keys[i] as string];
    isOrdered =
      (i === 0 || (keys[i - 1] as string) < (keys[i] as string)) && (inner === null || typeof inner !== 'object');
  }
  return isOrdered ? object : Object.fromEntries(keys.sort().map((key) => [key, ordered(object[key])]));
}
