/**
 * The tables that the outside world is made of: their rows, their order and what may delete from them.
 *
 * - A row is `{table, key, value}`; what values and keys of a table are is in `rows.ts`.
 * - `rank` orders a plan: puts go up the ranks, deletes go down, so a referent exists before and after what refers to it.
 *   A `deleteRank` departs from that where the kernel itself takes the row along with its referent.
 * - An orphan (actual, but not desired by anyone since the start) is deleted only when all `sources` have synced.
 */

import type {
  AddrRow,
  AttachmentRow,
  BackendRow,
  BackendSetRow,
  CgroupAttachmentRow,
  CniReplyRow,
  DeviceRow,
  EndpointRow,
  FrontendRow,
  HealthCheckRow,
  HealthProbeRow,
  IdentityClaimRow,
  IpcacheRow,
  KubeObjectRow,
  KubeStatusRow,
  LinkRow,
  LocalEndpointRow,
  LocalPolicyRow,
  NetdevRow,
  NodeRow,
  PolicyEntryRow,
  PolicyMapRow,
  RouteRow,
  RuleRow,
  SourceRangeRow,
  SysctlRow,
  TimerRow,
  TunnelRow,
  WireguardDeviceRow,
  WireguardPeerRow,
  XdpAttachmentRow,
  XfrmPolicyRow,
  XfrmStateRow,
} from './rows.ts';

export { canonical } from './canonical.ts';
export { type ProtocolName, protocolNumbers } from './protocols.ts';
export * from './rows.ts';

export interface Tables {
  'local.endpoints': LocalEndpointRow;
  'local.policies': LocalPolicyRow;
  sysctls: SysctlRow;
  links: LinkRow;
  tunnels: TunnelRow;
  'wireguard.devices': WireguardDeviceRow;
  'wireguard.peers': WireguardPeerRow;
  attachments: AttachmentRow;
  addrs: AddrRow;
  routes: RouteRow;
  rules: RuleRow;
  'xfrm.states': XfrmStateRow;
  'xfrm.policies': XfrmPolicyRow;
  'bpf.netdevs': NetdevRow;
  'bpf.devices': DeviceRow;
  'bpf.nodes': NodeRow;
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
  'health.probes': HealthProbeRow;
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
  /** Key of a machine whose wish counts only for rows that nobody else wants. */
  yields?: string;
  /** BPF map behind the table, its default capacity, and what the rows are. */
  map?: { name: string; entriesMax: number };
  doc: string;
}

const NODE = ['local', 'links', 'kube/nodes'] as const;
const NODES = [...NODE, 'kube/ciliumnodes'] as const;
const REMOTE_PODS = [...NODES, 'kube/ciliumendpoints', 'kube/ciliumendpointslices'] as const;
const ENDPOINTS = ['local'] as const;
const SERVICES = ['local', 'links', 'kube/services', 'kube/endpointslices', 'kube/nodes', 'kube/pods'] as const;
/** All that the policy machine waits for: before, it wants nothing. */
const POLICIES = [
  ...ENDPOINTS,
  'kube/nodes',
  'kube/endpointslices',
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
    // After the entries that it accounts for.
    rank: 43,
    lane: 'kernel',
    durable: true,
    sources: POLICIES,
    doc: 'the policies in force, each in its last valid version',
  },
  sysctls: { rank: 5, lane: 'kernel', durable: true, sources: NODE, doc: 'kernel settings of the node' },
  links: {
    rank: 10,
    lane: 'kernel',
    durable: true,
    sources: [...ENDPOINTS, ...NODE],
    doc: 'virtual links of pods and of the node',
  },
  tunnels: { rank: 10, lane: 'kernel', durable: true, sources: NODE, doc: 'links to other nodes that encapsulate' },
  'wireguard.devices': {
    rank: 11,
    lane: 'kernel',
    durable: true,
    sources: NODE,
    doc: 'links to other nodes that encrypt',
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
    sources: [...ENDPOINTS, ...NODES],
    doc: 'routes to pods and inside pods',
  },
  rules: { rank: 31, lane: 'kernel', durable: true, sources: NODE, doc: 'rules of policy routing' },
  // Whatever encrypts is there before an address of the ipcache asks for it.
  'xfrm.states': {
    rank: 33,
    lane: 'kernel',
    durable: true,
    sources: NODES,
    doc: 'IPsec associations with other nodes',
  },
  'xfrm.policies': { rank: 34, lane: 'kernel', durable: true, sources: NODES, doc: 'what IPsec encrypts' },
  'wireguard.peers': { rank: 35, lane: 'kernel', durable: true, sources: NODES, doc: 'other nodes behind WireGuard' },
  'bpf.netdevs': {
    rank: 40,
    lane: 'kernel',
    durable: true,
    sources: NODE,
    map: { name: 'netdevs', entriesMax: 512 },
    doc: 'native devices and the addresses they masquerade with',
  },
  'bpf.devices': {
    rank: 40,
    lane: 'kernel',
    durable: true,
    sources: NODE,
    map: { name: 'devices', entriesMax: 8 },
    doc: 'links that programs hand packets for other nodes to',
  },
  'bpf.nodes': {
    rank: 43,
    lane: 'kernel',
    durable: true,
    sources: NODES,
    map: { name: 'nodes', entriesMax: 16_384 },
    doc: 'numbers of other nodes, as marks carry them',
  },
  'bpf.ipcache': {
    // After the policy entries: an address is not given a new identity before policy knows that identity.
    rank: 44,
    lane: 'kernel',
    durable: true,
    sources: [...POLICIES, ...REMOTE_PODS],
    // A rule may name a pod's or a node's address as a CIDR; that it is a pod's or a node's counts.
    yields: 'policy',
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
  'health.probes': {
    rank: 82,
    lane: 'edge',
    durable: false,
    // That nobody asks after a node keeps no packet from it.
    unawaited: true,
    sources: [],
    doc: 'other nodes that are asked whether they are there',
  },
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
    sources: [...POLICIES, 'kube/services'],
    doc: 'status of objects that others own',
  },
  'cni.replies': { rank: 80, lane: 'edge', durable: false, sources: [], doc: 'answers to CNI requests' },
  timers: { rank: 90, lane: 'edge', durable: false, sources: [], doc: 'wake-ups of machines' },
};

export const tableNames = Object.keys(tables) as TableName[];

export function isTableName(name: string): name is TableName {
  return Object.hasOwn(tables, name);
}
