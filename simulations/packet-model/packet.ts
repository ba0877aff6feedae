/** A packet as the model sees it: what of it decides its fate, and what of it may be rewritten. */
import { isV6 } from './address.ts';

export const protocols = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;
export const tcpFlags = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;

/** Addresses, protocol and ports. An echo's id is the port of the end that asked; the other port, and all of other ICMP, are 0. */
export interface Tuple {
  from: string;
  to: string;
  proto: number;
  sport: number;
  dport: number;
}

export interface Packet extends Tuple {
  ttl: number;
  /** Of TCP; SCTP's chunks count as the flags that they resemble. */
  tcpFlags?: number;
  icmpType?: number;
  icmpCode?: number;
  /** Bytes with the network header, of a datagram; absent: few. */
  length?: number;
  /** Of an ICMP error: the packet that it is about. */
  inner?: Tuple;
}

export const hasPorts = (proto: number): boolean =>
  proto === protocols.tcp || proto === protocols.udp || proto === protocols.sctp;

/** ICMP of the packet's own family. */
export const isIcmp = ({ from, proto }: Tuple): boolean => proto === (isV6(from) ? protocols.icmpv6 : protocols.icmp);

export function isIcmpError(packet: Packet): boolean {
  if (!isIcmp(packet) || packet.icmpType === undefined) return false;
  return isV6(packet.from) ? packet.icmpType >= 1 && packet.icmpType <= 4 : [3, 4, 11, 12].includes(packet.icmpType);
}

export function isFragmentationNeeded(packet: Packet): boolean {
  if (!isIcmpError(packet)) return false;
  return isV6(packet.from) ? packet.icmpType === 2 : packet.icmpType === 3 && packet.icmpCode === 4;
}

/** What stands for the destination port in policy. */
export const policyPort = (packet: Packet): number => (hasPorts(packet.proto) ? packet.dport : (packet.icmpType ?? 0));

/** The same connection seen from the other end. */
export const reversed = ({ from, to, proto, sport, dport }: Tuple): Tuple => ({
  from: to,
  to: from,
  proto,
  sport: dport,
  dport: sport,
});

export const endKey = (address: string, port: number): string => `${address} ${port}`;
