/** What stands behind the Hubble API: a node with its rings, or a relay with its nodes. */
import type { Frames } from './frames.ts';
import type { GetAgentEventsResponse, GetFlowsRequest, GetFlowsResponse, ReadRequest } from './observer.ts';

export type Encode = (answer: GetFlowsResponse) => Buffer;

export interface HubbleSource {
  version: string;
  /** Which header tells clients of the version. */
  versionHeader: 'hubble-server-version' | 'hubble-relay-version';
  flows(request: GetFlowsRequest, signal: AbortSignal): AsyncIterable<GetFlowsResponse>;
  /** The same as bytes of the protocol, many in a write: a node's, where many may read much. */
  flowFrames?(request: GetFlowsRequest, signal: AbortSignal, encode: Encode): AsyncIterable<Frames>;
  status(): ServerStatus | Promise<ServerStatus>;
  /** Namespaces with flows in the last hour, sorted. */
  namespaces(): Namespace[] | Promise<Namespace[]>;
  /** A node's. */
  agentEvents?(request: ReadRequest, signal: AbortSignal): AsyncIterable<GetAgentEventsResponse>;
  /** A node's: known peers first, then changes. */
  peers?(signal: AbortSignal): AsyncIterable<PeerChange>;
  /** A relay's. */
  nodes?(): NodeView[] | Promise<NodeView[]>;
}

export interface ServerStatus {
  num_flows: number;
  max_flows: number;
  seen_flows: number;
  uptime_ns: number;
  version: string;
  flows_rate: number;
  /** A relay's. */
  num_connected_nodes?: { value: number };
  num_unavailable_nodes?: { value: number };
  unavailable_nodes?: string[];
}

export interface Namespace {
  cluster: string;
  namespace: string;
}

/** `peer.ChangeNotification`. */
export interface PeerChange {
  /** `cluster/node`, or the bare node in the cluster `default`. */
  name: string;
  address: string;
  type: 'PEER_ADDED' | 'PEER_DELETED' | 'PEER_UPDATED';
  /** Absent: no TLS. */
  tls?: { server_name: string };
}

/** `observer.Node`. */
export interface NodeView {
  name: string;
  version: string;
  address: string;
  state: 'NODE_CONNECTED' | 'NODE_UNAVAILABLE' | 'NODE_GONE' | 'NODE_ERROR';
  tls?: { enabled: boolean; server_name: string };
  uptime_ns: number;
  num_flows: number;
  max_flows: number;
  seen_flows: number;
}
