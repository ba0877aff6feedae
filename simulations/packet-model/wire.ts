/** Packets of the model as bytes, and back. */
import { type Dissected, dissect, icmp, ip, raw, sctp, type Transport, tcp, udp } from '../../bpf/test/packet.ts';
import { isV6 } from './address.ts';
import { isIcmpError, type Packet, protocols, type Tuple, tcpFlags } from './packet.ts';

const ETHERNET_BYTES = 14;
const UDP_HEADER_BYTES = 8;
/** What an ICMP error carries of the packet behind its network header; no router need give more. */
const CARRIED_BYTES = 8;

export function toBytes(packet: Packet): Buffer {
  return ip({ from: packet.from, to: packet.to, ttl: packet.ttl }, transportOf(packet));
}

function transportOf(packet: Packet): Transport {
  const { proto, sport, dport } = packet;
  switch (proto) {
    case protocols.tcp:
      return tcp(sport, dport, packet.tcpFlags ?? tcpFlags.ack);
    case protocols.udp:
      return udp(sport, dport, payloadOf(packet));
    case protocols.sctp:
      return sctp(sport, dport, chunkOf(packet.tcpFlags ?? 0));
    case protocols.icmp:
    case protocols.icmpv6:
      return isV6(packet.from) === (proto === protocols.icmpv6) ? icmpOf(packet) : raw(proto, Buffer.alloc(16));
    default:
      return raw(proto, Buffer.alloc(16));
  }
}

/** What makes it as long as it is said to be. */
function payloadOf({ from, length }: Packet): Buffer<ArrayBuffer> | undefined {
  return length === undefined ? undefined : Buffer.alloc(length - (isV6(from) ? 40 : 20) - UDP_HEADER_BYTES);
}

function icmpOf(packet: Packet): Transport {
  const type = packet.icmpType ?? 0;
  const rest = isIcmpError(packet) ? errorBody(packet) : Buffer.alloc(12, 0x61);
  if (!isIcmpError(packet)) rest.writeUInt16BE(packet.sport || packet.dport, 0);
  return icmp({ v4: type, v6: type }, packet.icmpCode ?? 0, rest);
}

function errorBody({ inner }: Packet): Buffer {
  if (!inner) return Buffer.alloc(12);
  const bytes = toBytes({ ...inner, ttl: 3, ...(isEcho(inner) && { icmpType: echoType(inner) }) });
  const headers = ETHERNET_BYTES + (isV6(inner.from) ? 40 : 20);
  return Buffer.concat([Buffer.alloc(4), bytes.subarray(ETHERNET_BYTES, headers + CARRIED_BYTES)]);
}

const isEcho = ({ proto }: Tuple): boolean => proto === protocols.icmp || proto === protocols.icmpv6;
const echoType = ({ from, sport }: Tuple): number => (isV6(from) ? (sport ? 128 : 129) : sport ? 8 : 0);

/** A chunk that stands for the flags: INIT, INIT ACK, ABORT, SHUTDOWN, else DATA. */
function chunkOf(flags: number): number {
  if (flags & tcpFlags.syn) return flags & tcpFlags.ack ? 2 : 1;
  if (flags & tcpFlags.rst) return 6;
  return flags & tcpFlags.fin ? 7 : 0;
}

const IPV6_BYTES = 40;
const DESTINATION_OPTIONS = 60;

/** Direct server return tells the backend of the frontend in them; over IPv4 in an option of the header, which is passed over anyway. */
function withoutDestinationOptions(bytes: Buffer): Buffer {
  const header = Buffer.from(bytes.subarray(0, ETHERNET_BYTES + IPV6_BYTES));
  const rest = bytes.subarray(ETHERNET_BYTES + IPV6_BYTES);
  const isSo = bytes.readUInt8(ETHERNET_BYTES) >> 4 === 6 && header[ETHERNET_BYTES + 6] === DESTINATION_OPTIONS;
  if (!isSo) return bytes;
  const optionBytes = (rest.readUInt8(1) + 1) * 8;
  header.writeUInt16BE(header.readUInt16BE(ETHERNET_BYTES + 4) - optionBytes, ETHERNET_BYTES + 4);
  header.writeUInt8(rest.readUInt8(0), ETHERNET_BYTES + 6);
  return Buffer.concat([header, rest.subarray(optionBytes)]);
}

/** What of a packet that came out of a program can be compared with the model's. */
export interface Seen {
  from: string;
  to: string;
  ttl: number;
  proto: number;
  sport: number;
  dport: number;
  checksums: string;
}

const seen = ({
  from,
  to,
  ttl,
  proto,
  sport,
  dport,
  echoId,
  checksums,
}: Omit<Dissected, 'ethSource' | 'ethDest'>): Seen => ({
  from,
  to,
  ttl,
  proto,
  sport: sport ?? echoId ?? 0,
  dport: dport ?? 0,
  checksums,
});

export function fromBytes(bytes: Buffer): { outer: Seen; inner: Seen | undefined } {
  const outer = dissect(withoutDestinationOptions(bytes));
  return { outer: seen(outer), inner: outer.inner && seen(outer.inner) };
}

/** What `fromBytes` says of a packet as the model has it. */
export function expected({ from, to, ttl, proto, sport, dport }: Packet): Seen {
  const isEchoId = proto === protocols.icmp || proto === protocols.icmpv6;
  const ports = isEchoId ? { sport: sport || dport, dport: 0 } : { sport, dport };
  return { from, to, ttl, proto, ...ports, checksums: 'ok' };
}
