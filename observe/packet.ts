/**
 * Headers of a captured Ethernet frame, as far as an event needs them: addresses, ports, protocol, TCP flags or ICMP type.
 *
 * - A capture may end anywhere: what is cut off is absent, never an error.
 */

export interface PacketSummary {
  source: string;
  destination: string;
  protocol: string;
  sourcePort?: number;
  destinationPort?: number;
  tcpFlags?: string[];
  icmp?: { type: number; code: number; text: string };
  /** SCTP: type of the first chunk. */
  chunk?: number;
  /** Not the first fragment: no ports. */
  fragment?: true;
}

const ETHERNET_BYTES = 14;
const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd };
const PROTOCOLS: Readonly<Record<number, string>> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6', 132: 'sctp' };
/** RFC 8200, section 4: hop-by-hop, routing, destination options; fragment has a fixed size. */
const EXTENSIONS = new Set([0, 43, 60]);
const FRAGMENT = 44;
const EXTENSIONS_MAX = 8;

/** By bit, as monitors print them: SYN and ACK together read `SYN, ACK`. */
const TCP_FLAGS: readonly (readonly [bit: number, name: string])[] = [
  [0x02, 'SYN'],
  [0x10, 'ACK'],
  [0x04, 'RST'],
  [0x01, 'FIN'],
  [0x08, 'PSH'],
  [0x20, 'URG'],
  [0x40, 'ECE'],
  [0x80, 'CWR'],
  [0x100, 'NS'],
];

const ICMP_NAMES: Readonly<Record<string, string>> = {
  'icmp 0': 'EchoReply',
  'icmp 3': 'DestinationUnreachable',
  'icmp 5': 'Redirect',
  'icmp 8': 'EchoRequest',
  'icmp 11': 'TimeExceeded',
  'icmpv6 1': 'DestinationUnreachable',
  'icmpv6 2': 'PacketTooBig',
  'icmpv6 3': 'TimeExceeded',
  'icmpv6 128': 'EchoRequest',
  'icmpv6 129': 'EchoReply',
  'icmpv6 133': 'RouterSolicitation',
  'icmpv6 134': 'RouterAdvertisement',
  'icmpv6 135': 'NeighborSolicitation',
  'icmpv6 136': 'NeighborAdvertisement',
};

export const protocolName = (number: number): string => PROTOCOLS[number] ?? `proto-${number}`;

export function tcpFlagNames(flags: number): string[] {
  return TCP_FLAGS.filter(([bit]) => flags & bit).map(([, name]) => name);
}

/** Undefined: neither IPv4 nor IPv6, or cut off before the addresses. */
export function summarize(data: Uint8Array): PacketSummary | undefined {
  const frame = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (frame.length < ETHERNET_BYTES) return undefined;
  const packet = frame.subarray(ETHERNET_BYTES);
  switch (frame.readUInt16BE(12)) {
    case ETHERTYPE.ipv4:
      return packet.length < 20 ? undefined : ipv4(packet);
    case ETHERTYPE.ipv6:
      return packet.length < 40 ? undefined : ipv6(packet);
    default:
      return undefined;
  }
}

function ipv4(packet: Buffer): PacketSummary {
  const ends = { source: packet.subarray(12, 16).join('.'), destination: packet.subarray(16, 20).join('.') };
  const number = packet.readUInt8(9);
  if (packet.readUInt16BE(6) & 0x1fff) return { ...ends, protocol: protocolName(number), fragment: true };
  return { ...ends, ...transport(number, packet.subarray((packet.readUInt8(0) & 0x0f) * 4)) };
}

function ipv6(packet: Buffer): PacketSummary {
  const ends = { source: ipv6Text(packet.subarray(8, 24)), destination: ipv6Text(packet.subarray(24, 40)) };
  let number = packet.readUInt8(6);
  let rest = packet.subarray(40);
  for (let i = 0; i < EXTENSIONS_MAX && rest.length >= 8; i++) {
    if (number === FRAGMENT) {
      if (rest.readUInt16BE(2) & 0xfff8) return { ...ends, protocol: protocolName(rest.readUInt8(0)), fragment: true };
      number = rest.readUInt8(0);
      rest = rest.subarray(8);
    } else if (EXTENSIONS.has(number)) {
      number = rest.readUInt8(0);
      rest = rest.subarray((rest.readUInt8(1) + 1) * 8);
    } else break;
  }
  return { ...ends, ...transport(number, rest) };
}

function transport(number: number, segment: Buffer): Omit<PacketSummary, 'source' | 'destination'> {
  const protocol = protocolName(number);
  if (protocol === 'icmp' || protocol === 'icmpv6') {
    if (segment.length < 2) return { protocol };
    const [type, code] = [segment.readUInt8(0), segment.readUInt8(1)];
    return { protocol, icmp: { type, code, text: ICMP_NAMES[`${protocol} ${type}`] ?? `type ${type} code ${code}` } };
  }
  if (!['tcp', 'udp', 'sctp'].includes(protocol) || segment.length < 4) return { protocol };
  const ports = { sourcePort: segment.readUInt16BE(0), destinationPort: segment.readUInt16BE(2) };
  if (protocol === 'sctp' && segment.length > 12) return { protocol, ...ports, chunk: segment.readUInt8(12) };
  if (protocol !== 'tcp' || segment.length < 14) return { protocol, ...ports };
  return { protocol, ...ports, tcpFlags: tcpFlagNames(segment.readUInt16BE(12) & 0x1ff) };
}

/** RFC 5952: lower case, the longest run of zero groups shortened. */
export function ipv6Text(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  const runs = [...groups.join(':').matchAll(/(?<![0-9a-f])0(:0)+(?![0-9a-f])/g)].sort(
    (a, b) => b[0].length - a[0].length,
  );
  const run = runs[0];
  if (!run) return groups.join(':');
  const text = groups.join(':');
  return `${text.slice(0, run.index).replace(/:$/, '')}::${text.slice(run.index + run[0].length).replace(/^:/, '')}`;
}
