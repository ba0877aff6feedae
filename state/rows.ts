/**
 * The rows of each table: what their fields mean, and how their keys are written.
 *
 * - Keys are text for people, values plain JSON. Fields of BPF rows bear the names of the C struct in camelCase.
 * - Links are named, never numbered; addresses are text; secrets are never in a row.
 */

/** A pair of links, both with MAC addresses. Key: name of the end in the node's namespace. */
export interface LinkRow {
  kind: 'veth' | 'netkit';
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
/** Key: `[netns|][lookup@]dst`; see `routeKey`. Scope is link without `via`, global with it; `via` is on-link. */
export interface RouteRow {
  /** Of routing; absent: main. */
  lookup?: number;
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
/** A collect-metadata device: one for all peers, which the packet's own key names. Key: link name. */
export interface TunnelRow {
  kind: 'vxlan' | 'geneve';
  mac: string;
  mtu: number;
  /** UDP. */
  port: number;
}
/** A rule of policy routing. Key: `ipv4/priority` or `ipv6/priority`; see `ruleKey`. */
export interface RuleRow {
  family: 'ipv4' | 'ipv6';
  priority: number;
  mark: number;
  markMask: number;
  /** Number of the table of routes. */
  lookup: number;
}
/**
 * A WireGuard link and its own half of the keys. Key: link name. The private key is in a root-only file that only the driver reads, and
 * is named by its public key.
 */
export interface WireguardDeviceRow {
  publicKey: string;
  listenPort: number;
  mtu: number;
  /** Of the encrypted packets; 0: none. */
  fwmark: number;
}
/** Key: the peer's public key, base64. */
export interface WireguardPeerRow {
  dev: string;
  node: string;
  /** `10.0.0.2:51871`, `[fd00::2]:51871`. */
  endpoint: string;
  /** CIDRs, sorted. One that another peer had moves here. */
  allowedIps: string[];
  /** 0: none. */
  keepaliveSeconds: number;
}
/** An ESP association with AES-GCM. Key: `src>dst/spi`. The key itself is the driver's, derived for the pair from key number `spi` of its keyring. */
export interface XfrmStateRow {
  direction: 'in' | 'out';
  src: string;
  dst: string;
  spi: number;
  reqid: number;
  mode: 'tunnel' | 'transport';
  mark: number;
  markMask: number;
  /** Mark of packets that went through; 0: as it was. */
  outputMark: number;
  outputMarkMask: number;
  /** Of the Secret's key, so that another key with the same number is another row. */
  fingerprint: string;
}
/** Key: `direction/src>dst/mark`, the selectors' CIDRs. */
export interface XfrmPolicyRow {
  direction: 'in' | 'out' | 'fwd';
  src: string;
  dst: string;
  mark: number;
  markMask: number;
  action: 'allow' | 'block';
  /** Ends of the tunnel; empty: any. */
  templateSrc: string;
  templateDst: string;
  /** 0: any. */
  spi: number;
  reqid: number;
  /** Packets without the association pass too. */
  optional: boolean;
}
/** `nodes` map. Key: address of a node. */
export interface NodeRow {
  /** Number of a node on this node, 16 bits, as marks carry it. */
  nodeId: number;
  encryptKey: number;
}
/** `devices` map: a link that programs hand packets to. Key: `overlay` (cilium_vxlan or cilium_geneve) or `wireguard` (cilium_wg0). */
export interface DeviceRow {
  link: string;
  /** Longest packet of a pod that fits once wrapped; longer ones are the stack's, which tells the sender. 0: any. */
  mtu: number;
}
/** Another node is asked whether it is there; answers are events. Key: `node/target/protocol/address`. */
export interface HealthProbeRow {
  node: string;
  /** The node itself, or what it has in its pod range to be asked: a health endpoint, or an address of its own. */
  target: 'node' | 'endpoint';
  protocol: 'ICMP' | 'TCP';
  address: string;
  /** 0 for ICMP. */
  port: number;
  intervalMs: number;
  /** Of the first one: nodes are spread over the interval. */
  offsetMs: number;
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
  program:
    | 'from_endpoint'
    | 'to_endpoint'
    | 'from_netdev'
    | 'to_netdev'
    | 'from_overlay'
    | 'from_host'
    | 'from_wireguard';
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
  /** Of the pod's routes, where packets to other nodes are wrapped. Absent: `mtu`. */
  routeMtu?: number;
  /** What it was wired with, whatever others are wired with now. Absent: veth. */
  device?: 'netkit' | undefined;
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
/** A policy in force: the last valid version of its object. Key: `kind/namespace/name`. Actual state is SQLite itself. */
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
export const routeKey = (row: RouteRow): string =>
  `${row.netns ? `${row.netns}|` : ''}${row.lookup ? `${row.lookup}@` : ''}${row.dst}`;
export const ruleKey = ({ family, priority }: RuleRow): string => `${family}/${priority}`;
export const xfrmStateKey = ({ src, dst, spi }: XfrmStateRow): string => `${src}>${dst}/${spi}`;
export const xfrmPolicyKey = ({ direction, src, dst, mark }: XfrmPolicyRow): string =>
  `${direction}/${src}>${dst}/${mark}`;
type HealthProbeName = Pick<HealthProbeRow, 'node' | 'target' | 'protocol' | 'address'>;
export const healthProbeKey = ({ node, target, protocol, address }: HealthProbeName): string =>
  `${node}/${target}/${protocol}/${address}`;
