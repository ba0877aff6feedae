/**
 * What the datapath told, with names instead of numbers: one record for each event of the ring buffer.
 *
 * - Numbers of points, states and matches are Hubble's (bpf/lib/structs.h); one that is not known here is shown as it is.
 */
import { type DatapathEvent, ORIG_DESTINATION, ORIG_SOURCE, type SockEvent } from '../datapath/events.ts';
import { dropReasons } from '../state/drop-reasons.ts';
import type { EndName, Names } from './names.ts';
import { type PacketSummary, protocolName, summarize, tcpFlagNames } from './packet.ts';

export interface MonitorRecord {
  /** ISO 8601. */
  time: string;
  type: 'drop' | 'trace' | 'policy-verdict' | 'trace-sock' | 'unknown';
  /** Text of the drop reason, the trace point, or the verdict's action. */
  subtype: string;
  /** Drop reason, or what denied; 0: none. */
  reason: number;
  direction: 'ingress' | 'egress';
  endpointId: number;
  link: string;
  flow: string;
  source: MonitorEnd;
  destination: MonitorEnd;
  /** IP protocol number; 0: not known. */
  proto: number;
  protocol: string;
  tcpFlags: string[];
  icmp: string;
  connection: string;
  match: string;
  bytes: number;
  /** The end below before masquerading or a service's translation; '' if nothing was changed. */
  original: string;
  originalEnd: 'source' | 'destination' | '';
  /** Where in the program a packet was dropped, `nat.h:120`; '' elsewhere. */
  place: string;
  /** Of a socket that was led to a service's backend. */
  socket?: { number: string; cgroupId: string };
}

export interface MonitorEnd extends EndName {
  address: string;
  port: number;
  /** 0: none of this node. */
  endpointId: number;
}

const TYPES: Readonly<Record<number, MonitorRecord['type']>> = { 1: 'drop', 2: 'trace', 3: 'policy-verdict' };
const POINTS: Readonly<Record<number, string>> = {
  0: 'to-endpoint',
  1: 'to-proxy',
  2: 'to-host',
  3: 'to-stack',
  4: 'to-overlay',
  5: 'from-endpoint',
  6: 'from-proxy',
  7: 'from-host',
  8: 'from-stack',
  9: 'from-overlay',
  10: 'from-network',
  11: 'to-network',
  12: 'from-crypto',
  13: 'to-crypto',
};
const ACTIONS: Readonly<Record<number, string>> = { 0: 'allow', 1: 'deny', 2: 'audit' };
const STATES: Readonly<Record<number, string>> = { 0: 'new', 1: 'established', 2: 'reply', 3: 'related', 255: '' };
const MATCHES: Readonly<Record<number, string>> = {
  0: 'none',
  1: 'L3-Only',
  2: 'L3-L4',
  3: 'L4-Only',
  4: 'all',
  5: 'L3-Proto',
  6: 'Proto-Only',
};
/** enum source_file of structs.h. */
export const FILES: Readonly<Record<number, string>> = {
  1: 'datapath.bpf.c',
  2: 'parse.h',
  3: 'neighbor.h',
  4: 'conntrack.h',
  5: 'policy.h',
  6: 'nat.h',
  7: 'delivery.h',
  8: 'fragment.h',
  9: 'nat-rewrite.h',
  10: 'lb.h',
  11: 'lb-choice.h',
  12: 'lb-netdev.h',
  13: 'lb-error.h',
  14: 'lb-refuse.h',
  15: 'dsr.h',
  16: 'host.h',
  17: 'overlay.h',
  18: 'encrypt.h',
  19: 'ingress.h',
  20: 'egress.h',
};

const ORIGINAL_ENDS: Readonly<Record<number, 'source' | 'destination'>> = {
  [ORIG_SOURCE]: 'source',
  [ORIG_DESTINATION]: 'destination',
};
/** Of processes of the node itself. */
const HOST = 1;
const NO_ADDRESS = new Set(['', '::']);
const hex = (number: number): string => `0x${number.toString(16)}`;

export interface Describing {
  names: Names;
  /** Undefined when the link is gone. */
  linkName: (ifindex: number) => string | undefined;
  /** Wall-clock milliseconds at which CLOCK_MONOTONIC was 0. */
  bootedAt: number;
  /** Addresses of the pod in a network namespace, by its cookie. */
  podOfNetns?: (cookie: bigint) => { ipv4: string; ipv6: string } | undefined;
}

export function describe(event: DatapathEvent, { names, linkName, bootedAt }: Describing): MonitorRecord {
  const type = TYPES[event.type] ?? 'unknown';
  const packet = summarize(event.data);
  return {
    time: new Date(bootedAt + Number(event.timestamp / 1_000_000n)).toISOString(),
    type,
    subtype: subtypeOf(type, event),
    reason: type === 'drop' ? event.subtype : event.reason,
    direction: event.direction === 1 ? 'egress' : 'ingress',
    endpointId: event.endpointId,
    link: event.ifindex > 0 ? (linkName(event.ifindex) ?? `#${event.ifindex}`) : '',
    flow: hex(event.flowHash),
    source: end(names, packet?.source, packet?.sourcePort, event.srcIdentity),
    destination: end(names, packet?.destination, packet?.destinationPort, event.dstIdentity),
    proto: event.proto,
    protocol: packet?.protocol ?? (event.proto > 0 ? protocolName(event.proto) : ''),
    tcpFlags: flagsOf(packet, event),
    icmp: packet?.icmp?.text ?? '',
    connection: STATES[event.ctState] ?? String(event.ctState),
    match: type === 'policy-verdict' ? (MATCHES[event.policyMatch] ?? String(event.policyMatch)) : '',
    bytes: event.lenOrig,
    original: NO_ADDRESS.has(event.origAddr)
      ? ''
      : `${event.origAddr}${event.origPort > 0 ? `:${event.origPort}` : ''}`,
    originalEnd: ORIGINAL_ENDS[event.origEnd] ?? '',
    place: event.sourceFile > 0 ? `${FILES[event.sourceFile] ?? event.sourceFile}:${event.sourceLine}` : '',
  };
}

/** A socket's event, before its address was exchanged for a backend's, and after. */
export function describeSocket(
  event: SockEvent,
  { names, bootedAt, podOfNetns }: Pick<Describing, 'names' | 'bootedAt' | 'podOfNetns'>,
): [before: MonitorRecord, after: MonitorRecord] {
  const pod = podOfNetns?.(event.netnsCookie);
  const own = (event.frontendAddr.includes(':') ? pod?.ipv6 : pod?.ipv4) ?? '';
  const source = own === '' ? { ...end(names, '', 0, HOST), address: '' } : end(names, own);
  const common = {
    ...{ time: new Date(bootedAt + Number(event.timestamp / 1_000_000n)).toISOString(), type: 'trace-sock' as const },
    ...{ reason: 0, direction: 'egress' as const, endpointId: source.endpointId, link: '', flow: '0x0', source },
    ...{ proto: event.proto, protocol: protocolName(event.proto), tcpFlags: [], icmp: '', connection: '', match: '' },
    ...{ bytes: 0, originalEnd: '' as const, original: '', place: '' },
    socket: { number: String(event.cookie), cgroupId: String(event.cgroupId) },
  };
  const { frontendAddr, frontendPort, backendAddr, backendPort } = event;
  return [
    { ...common, subtype: 'pre-xlate-fwd', destination: end(names, frontendAddr, frontendPort) },
    { ...common, subtype: 'post-xlate-fwd', destination: end(names, backendAddr, backendPort) },
  ];
}

function subtypeOf(type: MonitorRecord['type'], { subtype }: DatapathEvent): string {
  switch (type) {
    case 'drop':
      return dropReasons.get(subtype)?.text ?? String(subtype);
    case 'trace':
      return POINTS[subtype] ?? String(subtype);
    case 'policy-verdict':
      return ACTIONS[subtype] ?? String(subtype);
    case 'trace-sock':
    case 'unknown':
      return String(subtype);
  }
}

function end(names: Names, address = '', port = 0, identity = 0): MonitorEnd {
  return { address, port, endpointId: names.endpointIdOf(address), ...names.of(address, identity) };
}

function flagsOf(packet: PacketSummary | undefined, { proto, tcpFlags }: DatapathEvent): string[] {
  return packet?.tcpFlags ?? (protocolName(proto) === 'tcp' ? tcpFlagNames(tcpFlags) : []);
}
