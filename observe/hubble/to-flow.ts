/**
 * One event of the datapath as a Hubble flow; the rules are those of Hubble's own parser (reference hubble-api.md, section 6).
 *
 * - The identity that the datapath saw wins over what is known of the address now.
 * - Names are those of the moment: a flow keeps them when the pod is gone.
 */
import { randomUUID } from 'node:crypto';
import { type DatapathEvent, ORIG_DESTINATION, ORIG_SOURCE } from '../../datapath/events.ts';
import { dropReasons } from '../../state/drop-reasons.ts';
import { FILES } from '../monitor.ts';
import type { Names } from '../names.ts';
import { type PacketSummary, summarize } from '../packet.ts';
import type { Origins } from './origins.ts';
import {
  type Flow,
  type FlowEndpoint,
  type Layer4,
  type TcpFlag,
  type TcpFlags,
  type TrafficDirection,
  timestampOf,
  type Verdict,
} from './types.ts';

export interface FlowContext {
  names: Names;
  origins: Origins;
  clusterName: string;
  /** `cluster/node`, or the bare node in the cluster `default`. */
  nodeName: string;
  version: string;
  linkName: (ifindex: number) => string | undefined;
  /** Wall-clock nanoseconds at which CLOCK_MONOTONIC was 0. */
  bootedAtNs: bigint;
}

/** Hubble's `event_type.type` by our event type. */
const EVENT_TYPES: Readonly<Record<number, number>> = { 1: 1, 2: 4, 3: 5 };
const DROP = 1;
const TRACE = 4;
const POLICY_VERDICT = 5;

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

/** Undefined for events that are no flows. */
export function toFlow(event: DatapathEvent, context: FlowContext): Flow | undefined {
  const type = EVENT_TYPES[event.type];
  if (type === undefined) return undefined;
  const packet = summarize(event.data);
  const isTranslated = type === TRACE && event.origEnd === ORIG_SOURCE;
  const sourceAddress = isTranslated ? event.origAddr : packet?.source;
  const source = endpointOf(context, sourceAddress, event.srcIdentity);
  const destination = endpointOf(context, packet?.destination, event.dstIdentity);
  const reason = type === DROP ? event.subtype : type === POLICY_VERDICT ? event.reason : 0;
  const isReporterSource = event.endpointId > 0 && event.endpointId === source.ID;
  const flow: Flow = {
    time: timestampOf(context.bootedAtNs + event.timestamp),
    uuid: randomUUID(),
    emitter: { name: 'Hubble', version: context.version },
    verdict: verdictOf(type, event.subtype),
    source,
    destination,
    Type: 'L3_L4',
    node_name: context.nodeName,
    event_type: { type, sub_type: type === POLICY_VERDICT ? 0 : event.subtype },
    traffic_direction: directionOf(type, event, isReporterSource),
    Summary: summaryOf(packet),
  };
  if (packet) {
    const isIpv6 = packet.destination.includes(':');
    flow.IP = { source: sourceAddress ?? '', destination: packet.destination, ipVersion: isIpv6 ? 'IPv6' : 'IPv4' };
    if (isTranslated) flow.IP.source_xlated = packet.source;
    // As the source's address, its port is that before translation.
    const sourcePort = isTranslated && event.origPort > 0 ? event.origPort : packet.sourcePort;
    const l4 = layer4Of(sourcePort === undefined ? packet : { ...packet, sourcePort });
    if (l4) flow.l4 = l4;
    serviceNames(flow, packet, event, context);
  }
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
  if (type === POLICY_VERDICT) policyNames(flow, event, context.origins);
  if (type === DROP && event.sourceFile > 0)
    flow.file = { name: FILES[event.sourceFile] ?? String(event.sourceFile), line: event.sourceLine };
  if (event.ifindex > 0) flow.interface = { index: event.ifindex, name: context.linkName(event.ifindex) ?? '' };
  return flow;
}

function verdictOf(type: number, subtype: number): Verdict {
  if (type === DROP) return 'DROPPED';
  if (type === TRACE) return 'FORWARDED';
  return subtype === 1 ? 'DROPPED' : subtype === 2 ? 'AUDIT' : 'FORWARDED';
}

function directionOf(type: number, { direction, ctState }: DatapathEvent, isReporterSource: boolean): TrafficDirection {
  if (type === POLICY_VERDICT) return direction === 1 ? 'EGRESS' : 'INGRESS';
  if (type === DROP) return isReporterSource ? 'EGRESS' : 'INGRESS';
  if (!(ctState in REASONS)) return 'TRAFFIC_DIRECTION_UNKNOWN';
  return isReporterSource !== (ctState === REPLY) ? 'EGRESS' : 'INGRESS';
}

function endpointOf({ names, clusterName }: FlowContext, address = '', identity = 0): FlowEndpoint {
  const known = names.of(address, identity);
  const slash = known.pod.indexOf('/');
  return {
    ID: names.endpointIdOf(address),
    identity: known.identity,
    cluster_name: known.pod ? clusterName : '',
    namespace: slash > 0 ? known.pod.slice(0, slash) : '',
    labels: known.labels,
    pod_name: known.pod.slice(slash + 1),
  };
}

function layer4Of({ protocol, sourcePort, destinationPort, tcpFlags, icmp }: PacketSummary): Layer4 | undefined {
  if (icmp) {
    const { type, code } = icmp;
    return protocol === 'icmpv6' ? { ICMPv6: { type, code } } : { ICMPv4: { type, code } };
  }
  if (sourcePort === undefined || destinationPort === undefined) return undefined;
  const ports = { source_port: sourcePort, destination_port: destinationPort };
  if (protocol === 'tcp') return { TCP: { ...ports, flags: flagsOf(tcpFlags) } };
  return protocol === 'udp' ? { UDP: ports } : { SCTP: ports };
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

/** An end that was a service's frontend, before translation or after. */
function serviceNames(flow: Flow, packet: PacketSummary, event: DatapathEvent, { origins }: FlowContext): void {
  const { protocol, source, sourcePort, destination, destinationPort } = packet;
  const from = origins.service(source, sourcePort, protocol);
  const to =
    event.origEnd === ORIG_DESTINATION
      ? origins.service(event.origAddr, event.origPort, protocol)
      : origins.service(destination, destinationPort, protocol);
  if (from) flow.source_service = from;
  if (to) flow.destination_service = to;
}

function policyNames(
  flow: Flow,
  { direction, subtype, policyCookie, policyMatch }: DatapathEvent,
  origins: Origins,
): void {
  flow.policy_match_type = policyMatch;
  if (flow.verdict === 'FORWARDED') flow.is_reply = { value: false };
  const policies = policyCookie > 0 ? origins.policies(policyCookie) : [];
  if (policies.length === 0) return;
  if (subtype === 1) {
    if (direction === 1) flow.egress_denied_by = policies;
    else flow.ingress_denied_by = policies;
  } else if (direction === 1) flow.egress_allowed_by = policies;
  else flow.ingress_allowed_by = policies;
}

const mac = (data: Buffer, at: number): string =>
  [...data.subarray(at, at + 6)].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
