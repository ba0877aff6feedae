/**
 * One event of the datapath as a Hubble flow; the rules are those of Hubble's own parser (reference hubble-api.md, section 6).
 *
 * - The identity that the datapath saw wins over what is known of the address now.
 * - Names are those of the moment: a flow keeps them when the pod is gone.
 */
import { type DatapathEvent, ORIG_SOURCE, type SockEvent } from '../../datapath/events.ts';
import { dropReasons } from '../../state/drop-reasons.ts';
import { FILES } from '../monitor.ts';
import { type PacketSummary, protocolName, summarize } from '../packet.ts';
import type { FlowContext, FlowParts } from './enrich.ts';
import {
  type Flow,
  type FlowPolicy,
  type Layer4,
  SCTP_CHUNKS,
  type TcpFlag,
  type TcpFlags,
  type TrafficDirection,
  timestampOf,
  type Verdict,
} from './types.ts';

const NO_LABELS: readonly string[] = Object.freeze([]);
/** Hubble's `event_type.type` by our event type. */
const EVENT_TYPES: Readonly<Record<number, number>> = { 1: 1, 2: 4, 3: 5 };
const DROP = 1;
const TRACE = 4;
const POLICY_VERDICT = 5;
const SOCK = 7;
const TO_ENDPOINT = 0;

const POINTS = [
  'TO_ENDPOINT',
  'TO_PROXY',
  'TO_HOST',
  'TO_STACK',
  'TO_OVERLAY',
  'FROM_ENDPOINT',
  'FROM_PROXY',
  'FROM_HOST',
  'FROM_STACK',
  'FROM_OVERLAY',
  'FROM_NETWORK',
  'TO_NETWORK',
  'FROM_CRYPTO',
  'TO_CRYPTO',
] as const;
/** By enum ct_state of structs.h. */
const REASONS: Readonly<Record<number, string>> = { 0: 'NEW', 1: 'ESTABLISHED', 2: 'REPLY', 3: 'RELATED' };
const REPLY = 2;

/** Of a packet: a drop, a trace or a verdict of policy. */
export function packetFlow(event: DatapathEvent, parts: FlowParts, context: FlowContext, uuid: string): Flow {
  const type = EVENT_TYPES[event.type] ?? TRACE;
  const packet = summarize(event.data);
  const isTranslated = type === TRACE && event.origEnd === ORIG_SOURCE;
  const sourceAddress = isTranslated ? event.origAddr : packet?.source;
  const { source, destination } = parts;
  const reason = type === DROP ? event.subtype : type === POLICY_VERDICT ? event.reason : 0;
  // What comes to a pod is told of as by that pod.
  const isToEndpoint = type === TRACE && event.subtype === TO_ENDPOINT;
  const isReporterSource = !isToEndpoint && event.endpointId > 0 && event.endpointId === source.ID;
  const flow: Flow = {
    time: timestampOf(context.bootedAtNs + event.timestamp),
    uuid,
    emitter: { name: 'Hubble', version: context.version },
    verdict: verdictOf(type, event.subtype),
    source,
    destination,
    Type: 'L3_L4',
    node_name: context.nodeName,
    node_labels: context.nodeLabels?.() ?? NO_LABELS,
    event_type: { type, sub_type: type === POLICY_VERDICT ? 0 : event.subtype },
    traffic_direction: directionOf(type, event, isReporterSource),
    Summary: summaryOf(packet),
  };
  if (packet) {
    const isIpv6 = packet.destination.includes(':');
    flow.IP = { source: sourceAddress ?? '', destination: packet.destination, ipVersion: isIpv6 ? 'IPv6' : 'IPv4' };
    if (isTranslated) flow.IP.source_xlated = packet.source;
    if (type === TRACE && POINTS[event.subtype]?.endsWith('_CRYPTO')) flow.IP.encrypted = true;
    // As the source's address, its port is that before translation.
    const sourcePort = isTranslated && event.origPort > 0 ? event.origPort : packet.sourcePort;
    const l4 = layer4Of(sourcePort === undefined ? packet : { ...packet, sourcePort });
    if (l4) flow.l4 = l4;
  }
  if (parts.sourceService) flow.source_service = parts.sourceService;
  if (parts.destinationService) flow.destination_service = parts.destinationService;
  if (event.data.length >= 12) flow.ethernet = { source: mac(event.data, 6), destination: mac(event.data, 0) };
  if (reason > 0) {
    flow.drop_reason = reason;
    flow.drop_reason_desc = dropReasons.get(reason)?.proto || 'DROP_REASON_UNKNOWN';
  }
  if (type === TRACE) {
    flow.trace_observation_point = POINTS[event.subtype] ?? 'UNKNOWN_POINT';
    flow.trace_reason = REASONS[event.ctState] ?? 'TRACE_REASON_UNKNOWN';
    if (event.ctState in REASONS) flow.is_reply = { value: event.ctState === REPLY };
  }
  if (type === POLICY_VERDICT) policyNames(flow, event, parts.policies);
  if (type === DROP && event.sourceFile > 0)
    flow.file = { name: FILES[event.sourceFile] ?? String(event.sourceFile), line: event.sourceLine };
  if (event.ifindex > 0) flow.interface = { index: event.ifindex, name: parts.link };
  return flow;
}

/** `SOCK_XLATE_POINT_PRE_DIRECTION_FWD` and `…POST…`: before a socket's address was exchanged for a backend's, and after. */
export type SocketPoint = 1 | 2;

const SOCKET_POINTS: Readonly<Record<SocketPoint, string>> = {
  1: 'SOCK_XLATE_POINT_PRE_DIRECTION_FWD',
  2: 'SOCK_XLATE_POINT_POST_DIRECTION_FWD',
};

/** Of a socket that was led to a service's backend: its own port is not known yet. */
export function socketFlow(
  event: SockEvent,
  point: SocketPoint,
  parts: FlowParts,
  context: FlowContext,
  uuid: string,
): Flow {
  const isBefore = point === 1;
  const isIpv6 = event.frontendAddr.includes(':');
  const protocol = protocolName(event.proto);
  const pod = context.podOfNetns?.(event.netnsCookie);
  const ports = { source_port: 0, destination_port: isBefore ? event.frontendPort : event.backendPort };
  const flow: Flow = {
    time: timestampOf(context.bootedAtNs + event.timestamp),
    uuid,
    emitter: { name: 'Hubble', version: context.version },
    verdict: isBefore ? 'TRACED' : 'TRANSLATED',
    IP: {
      source: (isIpv6 ? pod?.ipv6 : pod?.ipv4) ?? '',
      destination: isBefore ? event.frontendAddr : event.backendAddr,
      ipVersion: isIpv6 ? 'IPv6' : 'IPv4',
    },
    source: parts.source,
    destination: parts.destination,
    Type: 'SOCK',
    node_name: context.nodeName,
    node_labels: context.nodeLabels?.() ?? NO_LABELS,
    event_type: { type: SOCK, sub_type: point },
    traffic_direction: 'EGRESS',
    sock_xlate_point: SOCKET_POINTS[point],
    socket_cookie: Number(event.cookie),
    cgroup_id: Number(event.cgroupId),
    Summary: protocol.toUpperCase(),
  };
  if (protocol === 'tcp') flow.l4 = { TCP: { ...ports, flags: {} } };
  else if (protocol === 'udp') flow.l4 = { UDP: ports };
  else if (protocol === 'sctp') flow.l4 = { SCTP: ports };
  if (parts.destinationService) flow.destination_service = parts.destinationService;
  return flow;
}

function verdictOf(type: number, subtype: number): Verdict {
  if (type === DROP) return 'DROPPED';
  if (type === TRACE) return 'FORWARDED';
  return subtype === 1 ? 'DROPPED' : subtype === 2 ? 'AUDIT' : 'FORWARDED';
}

function directionOf(
  type: number,
  { direction, ctState, endpointId }: DatapathEvent,
  isReporterSource: boolean,
): TrafficDirection {
  if (type === POLICY_VERDICT) return direction === 1 ? 'EGRESS' : 'INGRESS';
  // Where no endpoint was found by its address, the program was one for what comes out of a pod.
  if (type === DROP) return isReporterSource || (endpointId === 0 && direction === 1) ? 'EGRESS' : 'INGRESS';
  if (!(ctState in REASONS)) return 'TRAFFIC_DIRECTION_UNKNOWN';
  return isReporterSource !== (ctState === REPLY) ? 'EGRESS' : 'INGRESS';
}

function layer4Of({ protocol, sourcePort, destinationPort, tcpFlags, icmp, chunk }: PacketSummary): Layer4 | undefined {
  if (icmp) {
    const { type, code } = icmp;
    return protocol === 'icmpv6' ? { ICMPv6: { type, code } } : { ICMPv4: { type, code } };
  }
  if (sourcePort === undefined || destinationPort === undefined) return undefined;
  const ports = { source_port: sourcePort, destination_port: destinationPort };
  if (protocol === 'tcp') return { TCP: { ...ports, flags: flagsOf(tcpFlags) } };
  if (protocol === 'udp') return { UDP: ports };
  const chunk_type = chunk === undefined ? undefined : SCTP_CHUNKS[chunk];
  return { SCTP: chunk_type ? { ...ports, chunk_type } : ports };
}

function flagsOf(names: readonly string[] = []): TcpFlags {
  return Object.fromEntries(names.map((name) => [name as TcpFlag, true]));
}

const SUMMARY_FLAGS = ['SYN', 'ACK', 'RST', 'FIN', 'PSH', 'URG', 'ECE', 'CWR', 'NS'];

function summaryOf(packet: PacketSummary | undefined): string {
  if (!packet) return '';
  const { protocol, tcpFlags, icmp } = packet;
  if (protocol === 'tcp') return `TCP Flags: ${SUMMARY_FLAGS.filter((flag) => tcpFlags?.includes(flag)).join(', ')}`;
  if (icmp) return `${protocol === 'icmpv6' ? 'ICMPv6' : 'ICMPv4'} ${icmp.text}`;
  return protocol.toUpperCase();
}

function policyNames(
  flow: Flow,
  { direction, subtype, policyMatch }: DatapathEvent,
  policies: readonly FlowPolicy[],
): void {
  flow.policy_match_type = policyMatch;
  if (flow.verdict !== 'DROPPED') flow.is_reply = { value: false };
  if (policies.length === 0) return;
  const named = [...policies];
  if (subtype === 1) {
    if (direction === 1) flow.egress_denied_by = named;
    else flow.ingress_denied_by = named;
  } else if (direction === 1) flow.egress_allowed_by = named;
  else flow.ingress_allowed_by = named;
}

const mac = (data: Buffer, at: number): string => {
  const hex = data.toString('hex', at, at + 6);
  return `${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}:${hex.slice(6, 8)}:${hex.slice(8, 10)}:${hex.slice(10)}`;
};
