/** Hubble's messages as far as we write them: names of `proto/flow/flow.proto`, enums by name, 64-bit numbers as numbers. */

/** `google.protobuf.Timestamp`. */
export interface Timestamp {
  seconds: number;
  nanos: number;
}

export type Verdict =
  | 'VERDICT_UNKNOWN'
  | 'FORWARDED'
  | 'DROPPED'
  | 'ERROR'
  | 'AUDIT'
  | 'REDIRECTED'
  | 'TRACED'
  | 'TRANSLATED';
export type TrafficDirection = 'TRAFFIC_DIRECTION_UNKNOWN' | 'INGRESS' | 'EGRESS';
export type IpVersion = 'IP_NOT_USED' | 'IPv4' | 'IPv6';

export interface FlowEndpoint {
  /** 0: not an endpoint of this node. */
  ID: number;
  identity: number;
  cluster_name: string;
  namespace: string;
  labels: string[];
  pod_name: string;
  workloads?: { name: string; kind: string }[];
}

export interface Ports {
  source_port: number;
  destination_port: number;
}
export type TcpFlag = 'FIN' | 'SYN' | 'RST' | 'PSH' | 'ACK' | 'URG' | 'ECE' | 'CWR' | 'NS';
export type TcpFlags = Partial<Record<TcpFlag, boolean>>;

export type SctpChunk = 'INIT' | 'INIT_ACK' | 'SHUTDOWN' | 'SHUTDOWN_ACK' | 'SHUTDOWN_COMPLETE' | 'ABORT';
/** By number (RFC 9260, section 3.2), as far as Hubble has names. */
export const SCTP_CHUNKS: Readonly<Record<number, SctpChunk>> = {
  1: 'INIT',
  2: 'INIT_ACK',
  6: 'ABORT',
  7: 'SHUTDOWN',
  8: 'SHUTDOWN_ACK',
  14: 'SHUTDOWN_COMPLETE',
};

/** One of them. */
export interface Layer4 {
  TCP?: Ports & { flags: TcpFlags };
  UDP?: Ports;
  SCTP?: Ports & { chunk_type?: SctpChunk };
  ICMPv4?: { type: number; code: number };
  ICMPv6?: { type: number; code: number };
}

export interface FlowPolicy {
  name: string;
  namespace: string;
  labels: string[];
  revision: number;
  kind: string;
}

export interface Flow {
  time: Timestamp;
  uuid: string;
  emitter: { name: string; version: string };
  verdict: Verdict;
  drop_reason?: number;
  drop_reason_desc?: string;
  ethernet?: { source: string; destination: string };
  IP?: {
    source: string;
    destination: string;
    ipVersion: IpVersion;
    source_xlated?: string;
    /** Where it was seen on its way into encryption, or out of it. */
    encrypted?: boolean;
  };
  l4?: Layer4;
  source: FlowEndpoint;
  destination: FlowEndpoint;
  Type: 'L3_L4' | 'L7' | 'SOCK';
  node_name: string;
  /** `key=value`. */
  node_labels?: readonly string[];
  event_type: { type: number; sub_type: number };
  source_service?: { name: string; namespace: string };
  destination_service?: { name: string; namespace: string };
  traffic_direction: TrafficDirection;
  policy_match_type?: number;
  trace_observation_point?: string;
  trace_reason?: string;
  file?: { name: string; line: number };
  /** Absent: not known. */
  is_reply?: { value: boolean };
  interface?: { index: number; name: string };
  /** Type SOCK: where in the translation, and whose socket. */
  sock_xlate_point?: string;
  socket_cookie?: number;
  cgroup_id?: number;
  egress_allowed_by?: FlowPolicy[];
  ingress_allowed_by?: FlowPolicy[];
  egress_denied_by?: FlowPolicy[];
  ingress_denied_by?: FlowPolicy[];
  Summary: string;
}

export interface LostEvents {
  source: 'PERF_EVENT_RING_BUFFER' | 'OBSERVER_EVENTS_QUEUE' | 'HUBBLE_RING_BUFFER';
  num_events_lost: number;
  /** Absent: not of one processor. */
  cpu?: { value: number };
  first?: Timestamp;
  last?: Timestamp;
}

/** Exact: nanoseconds since the epoch in a number are good to some hundred. */
export const timestampOf = (ns: bigint): Timestamp => ({
  seconds: Number(ns / 1_000_000_000n),
  nanos: Number(ns % 1_000_000_000n),
});
export const nanosOf = ({ seconds, nanos }: Timestamp): bigint =>
  BigInt(Math.trunc(seconds)) * 1_000_000_000n + BigInt(Math.trunc(nanos));
export const isoOf = ({ seconds, nanos }: Timestamp): string =>
  `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(nanos).padStart(9, '0')}Z`;
