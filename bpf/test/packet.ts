// SPDX-License-Identifier: Apache-2.0
/** Packets for tests: built with the right checksums, and read back as plain values that say whether the checksums still are right. */
import { formatAddress, formatMac, parseAddress, parseMac } from '../../datapath/address.ts';

export const protocols = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;
export const tcpFlags = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;
const ETHERNET_BYTES = 14;

/** A transport header and what follows, for a packet between two addresses. */
export type Transport = (ends: { from: Buffer; to: Buffer }) => { proto: number; bytes: Buffer };

export interface IpOptions {
  from: string;
  to: string;
  ttl?: number;
  ethSource?: string;
  ethDest?: string;
  /** Bytes between network and transport header: IPv4 options, or IPv6 extension headers, the first of kind `firstExtension`. */
  between?: Buffer;
  firstExtension?: number;
  fragment?: { id: number; offset: number; more: boolean; bytes?: number };
}

const isV6 = (address: Buffer): boolean => address.length === 16;

/** The Internet checksum's sum, not yet folded. */
function sum(bytes: Buffer): number {
  let total = 0;
  for (let at = 0; at + 1 < bytes.length; at += 2) total += bytes.readUInt16BE(at);
  return bytes.length % 2 ? total + bytes.readUInt8(bytes.length - 1) * 256 : total;
}

function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return ~folded & 0xffff;
}

/** Over addresses, length and protocol; IPv4 and IPv6 pseudo headers have the same sum. */
function pseudoSum(from: Buffer, to: Buffer, proto: number, length: number): number {
  return sum(from) + sum(to) + proto + length;
}

export function udp(
  sport: number,
  dport: number,
  payload = Buffer.from('hello'),
  { noChecksum = false } = {},
): Transport {
  return ({ from, to }) => {
    const bytes = Buffer.concat([Buffer.alloc(8), payload]);
    bytes.writeUInt16BE(sport, 0);
    bytes.writeUInt16BE(dport, 2);
    bytes.writeUInt16BE(bytes.length, 4);
    const check = fold(pseudoSum(from, to, protocols.udp, bytes.length) + sum(bytes)) || 0xffff;
    bytes.writeUInt16BE(noChecksum ? 0 : check, 6);
    return { proto: protocols.udp, bytes };
  };
}

export function tcp(sport: number, dport: number, flags: number, payload = Buffer.alloc(0)): Transport {
  return ({ from, to }) => {
    const bytes = Buffer.concat([Buffer.alloc(20), payload]);
    bytes.writeUInt16BE(sport, 0);
    bytes.writeUInt16BE(dport, 2);
    bytes.writeUInt8(5 << 4, 12);
    bytes.writeUInt8(flags, 13);
    bytes.writeUInt16BE(fold(pseudoSum(from, to, protocols.tcp, bytes.length) + sum(bytes)), 16);
    return { proto: protocols.tcp, bytes };
  };
}

/** CRC32c bit by bit, as RFC 9260 has it in its appendix. */
function crc32c(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

const SCTP_CHECK_AT = 8;
function sctpCheck(bytes: Buffer): number {
  const summed = Buffer.from(bytes);
  summed.writeUInt32LE(0, SCTP_CHECK_AT);
  return crc32c(summed);
}

/** One chunk, with what it carries. */
export function sctp(sport: number, dport: number, chunk: number, value = Buffer.alloc(0)): Transport {
  return () => {
    const bytes = Buffer.concat([Buffer.alloc(16), value]);
    bytes.writeUInt16BE(sport, 0);
    bytes.writeUInt16BE(dport, 2);
    bytes.writeUInt8(chunk, 12);
    bytes.writeUInt32LE(sctpCheck(bytes), SCTP_CHECK_AT);
    return { proto: protocols.sctp, bytes };
  };
}

/** Any ICMP message; types are given for both families. */
export function icmp(types: { v4: number; v6: number }, code: number, rest: Buffer): Transport {
  return ({ from, to }) => {
    const bytes = Buffer.concat([Buffer.from([isV6(from) ? types.v6 : types.v4, code, 0, 0]), rest]);
    const proto = isV6(from) ? protocols.icmpv6 : protocols.icmp;
    const pseudo = isV6(from) ? pseudoSum(from, to, proto, bytes.length) : 0;
    bytes.writeUInt16BE(fold(pseudo + sum(bytes)), 2);
    return { proto, bytes };
  };
}

export function echo(kind: 'request' | 'reply', id: number, seq = 1): Transport {
  const rest = Buffer.alloc(12, 0x61);
  rest.writeUInt16BE(id, 0);
  rest.writeUInt16BE(seq, 2);
  return icmp(kind === 'request' ? { v4: 8, v6: 128 } : { v4: 0, v6: 129 }, 0, rest);
}

export const errors = {
  portUnreachable: { types: { v4: 3, v6: 1 }, codes: { v4: 3, v6: 4 } },
  tooBig: { types: { v4: 3, v6: 2 }, codes: { v4: 4, v6: 0 } },
  timeExceeded: { types: { v4: 11, v6: 3 }, codes: { v4: 0, v6: 0 } },
} as const;

/** An ICMP error about `packet` (with its Ethernet header), of which it carries `carried` bytes behind the network header. */
export function icmpError(kind: keyof typeof errors, packet: Buffer, carried = 1000): Transport {
  const { types, codes } = errors[kind];
  return (ends) => {
    const v6 = isV6(ends.from);
    const networkBytes = v6 ? 40 : 20;
    const inner = packet.subarray(ETHERNET_BYTES, ETHERNET_BYTES + networkBytes + carried);
    return icmp(types, v6 ? codes.v6 : codes.v4, Buffer.concat([Buffer.alloc(4), inner]))(ends);
  };
}

export const raw =
  (proto: number, bytes: Buffer): Transport =>
  () => ({ proto, bytes });

export function ip(options: IpOptions, transport: Transport): Buffer {
  const from = parseAddress(options.from);
  const to = parseAddress(options.to);
  const { proto, bytes } = transport({ from, to });
  const ethernet = Buffer.concat([
    parseMac(options.ethDest ?? '00:00:00:00:00:00'),
    parseMac(options.ethSource ?? '02:00:00:00:00:aa'),
    Buffer.from(isV6(from) ? [0x86, 0xdd] : [8, 0]),
  ]);
  const header = isV6(from) ? ipv6Header : ipv4Header;
  return Buffer.concat([ethernet, header(options, from, to, proto, fragmentOf(options, bytes))]);
}

/** Cuts out what a fragment carries: offset in bytes, and 8 bytes if not told, unless it is the last one. */
function fragmentOf({ fragment }: IpOptions, bytes: Buffer): Buffer {
  if (!fragment) return bytes;
  const { offset, more, bytes: carried = 8 } = fragment;
  return bytes.subarray(offset, more ? offset + carried : undefined);
}

function ipv4Header(options: IpOptions, from: Buffer, to: Buffer, proto: number, payload: Buffer): Buffer {
  const between = options.between ?? Buffer.alloc(0);
  const header = Buffer.concat([Buffer.alloc(20), between]);
  header.writeUInt8((4 << 4) | (header.length / 4), 0);
  header.writeUInt16BE(header.length + payload.length, 2);
  const { fragment } = options;
  if (fragment) {
    header.writeUInt16BE(fragment.id, 4);
    header.writeUInt16BE((fragment.more ? 0x2000 : 0) | (fragment.offset / 8), 6);
  }
  header.writeUInt8(options.ttl ?? 64, 8);
  header.writeUInt8(proto, 9);
  from.copy(header, 12);
  to.copy(header, 16);
  header.writeUInt16BE(fold(sum(header)), 10);
  return Buffer.concat([header, payload]);
}

function ipv6Header(options: IpOptions, from: Buffer, to: Buffer, proto: number, payload: Buffer): Buffer {
  let next = proto;
  let between = options.between ?? Buffer.alloc(0);
  if (options.fragment) {
    const { id, offset, more } = options.fragment;
    const fragment = Buffer.alloc(8);
    fragment.writeUInt8(proto, 0);
    fragment.writeUInt16BE(offset | Number(more), 2);
    fragment.writeUInt32BE(id, 4);
    between = Buffer.concat([between, fragment]);
    next = 44;
  }
  const header = Buffer.alloc(40);
  header.writeUInt8(6 << 4, 0);
  header.writeUInt16BE(between.length + payload.length, 4);
  header.writeUInt8(options.firstExtension ?? next, 6);
  header.writeUInt8(options.ttl ?? 64, 7);
  from.copy(header, 8);
  to.copy(header, 24);
  return Buffer.concat([header, between, payload]);
}

/** An IPv6 extension header of 8 bytes that leads to `next`. */
export function extension(next: number): Buffer {
  return Buffer.from([next, 0, 1, 4, 0, 0, 0, 0]);
}

export interface Dissected {
  ethSource: string;
  ethDest: string;
  from: string;
  to: string;
  ttl: number;
  proto: number;
  sport?: number;
  dport?: number;
  icmpType?: number;
  echoId?: number;
  /** The packet inside an ICMP error. */
  inner?: Omit<Dissected, 'ethSource' | 'ethDest'>;
  /** `ok`, or which sums are wrong. */
  checksums: string;
}

export function dissect(packet: Buffer): Dissected {
  return {
    ethDest: formatMac(packet.subarray(0, 6)),
    ethSource: formatMac(packet.subarray(6, 12)),
    ...dissectIp(packet.subarray(ETHERNET_BYTES), false),
  };
}

/** `partial`: the packet may be cut, then its transport sum is not looked at. */
function dissectIp(bytes: Buffer, partial: boolean): Omit<Dissected, 'ethSource' | 'ethDest'> {
  const v6 = bytes.readUInt8(0) >> 4 === 6;
  const headerBytes = v6 ? 40 : (bytes.readUInt8(0) & 15) * 4;
  const length = v6 ? bytes.readUInt16BE(4) : bytes.readUInt16BE(2) - headerBytes;
  const [fromRaw, toRaw] = v6
    ? [bytes.subarray(8, 24), bytes.subarray(24, 40)]
    : [bytes.subarray(12, 16), bytes.subarray(16, 20)];
  const proto = bytes.readUInt8(v6 ? 6 : 9);
  const l4 = bytes.subarray(headerBytes, headerBytes + length);
  const isFragment = !v6 && (bytes.readUInt16BE(6) & 0x3fff) !== 0;
  const wrong: string[] = [];
  if (!v6 && fold(sum(bytes.subarray(0, headerBytes))) !== 0) wrong.push('network header');
  const result: Omit<Dissected, 'ethSource' | 'ethDest'> = {
    from: formatAddress(fromRaw),
    to: formatAddress(toRaw),
    ttl: bytes.readUInt8(v6 ? 7 : 8),
    proto,
    checksums: 'ok',
  };
  const whole = l4.length === length && !isFragment;
  if (proto === protocols.tcp || proto === protocols.udp || proto === protocols.sctp) {
    result.sport = l4.readUInt16BE(0);
    result.dport = l4.readUInt16BE(2);
    const optional = proto === protocols.udp && l4.readUInt16BE(6) === 0 && !v6;
    // What an ICMP error quotes is cut off, perhaps before the checksum.
    const isRight =
      !whole ||
      (proto === protocols.sctp
        ? l4.readUInt32LE(SCTP_CHECK_AT) === sctpCheck(l4)
        : optional || fold(pseudoSum(fromRaw, toRaw, proto, length) + sum(l4)) === 0);
    if (!isRight) wrong.push('transport');
  } else if (proto === protocols.icmp || proto === protocols.icmpv6) {
    const type = l4.readUInt8(0);
    result.icmpType = type;
    if (whole && fold((v6 ? pseudoSum(fromRaw, toRaw, proto, length) : 0) + sum(l4)) !== 0) wrong.push('ICMP');
    if ([0, 8, 128, 129].includes(type)) result.echoId = l4.readUInt16BE(4);
    else if (!partial && (v6 ? type < 5 : [3, 11, 12].includes(type))) {
      result.inner = dissectIp(l4.subarray(8), true);
      if (result.inner.checksums !== 'ok') wrong.push(`inner ${result.inner.checksums}`);
    }
  }
  if (wrong.length > 0) result.checksums = `wrong: ${wrong.join(', ')}`;
  return result;
}

/** An ARP packet. */
export function arp(
  op: 'request' | 'reply',
  sender: { mac: string; ip: string },
  target: { mac?: string; ip: string },
): Buffer {
  return Buffer.concat([
    parseMac('ff:ff:ff:ff:ff:ff'),
    parseMac(sender.mac),
    Buffer.from([8, 6, 0, 1, 8, 0, 6, 4, 0, op === 'request' ? 1 : 2]),
    parseMac(sender.mac),
    parseAddress(sender.ip),
    parseMac(target.mac ?? '00:00:00:00:00:00'),
    parseAddress(target.ip),
  ]);
}

/** The body of a neighbour solicitation (135) or advertisement (136) behind its first four bytes. */
export function neighborBody(target: string, option?: { kind: 'source' | 'target'; mac: string }): Buffer {
  const tail = option
    ? Buffer.concat([Buffer.from([option.kind === 'source' ? 1 : 2, 1]), parseMac(option.mac)])
    : Buffer.alloc(0);
  return Buffer.concat([Buffer.alloc(4), parseAddress(target), tail]);
}
