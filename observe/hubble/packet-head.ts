/**
 * Where things are in a captured frame, as numbers: what each event costs, so nothing is made, and one head is used for all.
 *
 * - A capture may end anywhere: what is cut off is 0, never an error.
 */

export interface PacketHead {
  /** 4, 6, or 0: neither, or cut off before the addresses. */
  version: 0 | 4 | 6;
  /** Of the addresses in the bytes; they are 4 or 16 long. */
  source: number;
  destination: number;
  /** 0: no number was there. */
  proto: number;
  sourcePort: number;
  destinationPort: number;
  /** TCP: the flags; ICMP: the type; SCTP: the type of the first chunk; else 0. */
  detail: number;
  /** TCP, UDP or SCTP with its ports, or ICMP with its type. */
  hasTransport: boolean;
}

export const TCP = 6;
export const UDP = 17;
export const ICMP = 1;
export const ICMPV6 = 58;
export const SCTP = 132;
const FRAGMENT = 44;
const EXTENSIONS_MAX = 8;
const ETHERNET_BYTES = 14;

export const packetHead = (): PacketHead => ({
  version: 0,
  source: 0,
  destination: 0,
  proto: 0,
  sourcePort: 0,
  destinationPort: 0,
  detail: 0,
  hasTransport: false,
});

const u16 = (bytes: Buffer, at: number): number => ((bytes[at] as number) << 8) | (bytes[at + 1] as number);

/** Reads the frame that lies from `from` up to `to` into `head`. */
export function readHead(head: PacketHead, bytes: Buffer, from: number, to: number): void {
  head.version = 0;
  head.proto = 0;
  head.sourcePort = 0;
  head.destinationPort = 0;
  head.detail = 0;
  head.hasTransport = false;
  const at = from + ETHERNET_BYTES;
  if (at > to) return;
  const type = u16(bytes, at - 2);
  if (type === 0x0800) {
    if (at + 20 > to) return;
    head.version = 4;
    head.source = at + 12;
    head.destination = at + 16;
    head.proto = bytes[at + 9] as number;
    if ((u16(bytes, at + 6) & 0x1fff) === 0) readTransport(head, bytes, at + ((bytes[at] as number) & 0x0f) * 4, to);
  } else if (type === 0x86dd) {
    if (at + 40 > to) return;
    head.version = 6;
    head.source = at + 8;
    head.destination = at + 24;
    readExtensions(head, bytes, at + 40, to, bytes[at + 6] as number);
  }
}

/** RFC 8200, section 4. */
function readExtensions(head: PacketHead, bytes: Buffer, begin: number, to: number, first: number): void {
  let proto = first;
  let at = begin;
  for (let i = 0; i < EXTENSIONS_MAX && at + 8 <= to; i++) {
    if (proto === FRAGMENT) {
      proto = bytes[at] as number;
      if (u16(bytes, at + 2) & 0xfff8) {
        head.proto = proto;
        return;
      }
      at += 8;
    } else if (proto === 0 || proto === 43 || proto === 60) {
      proto = bytes[at] as number;
      at += ((bytes[at + 1] as number) + 1) * 8;
    } else break;
  }
  head.proto = proto;
  readTransport(head, bytes, at, to);
}

function readTransport(head: PacketHead, bytes: Buffer, at: number, to: number): void {
  const { proto } = head;
  if (proto === TCP || proto === UDP || proto === SCTP) {
    if (at + 4 > to) return;
    head.sourcePort = u16(bytes, at);
    head.destinationPort = u16(bytes, at + 2);
    head.hasTransport = true;
    if (proto === TCP && at + 14 <= to) head.detail = bytes[at + 13] as number;
    else if (proto === SCTP && at + 13 <= to) head.detail = bytes[at + 12] as number;
  } else if ((proto === ICMP || proto === ICMPV6) && at + 2 <= to) {
    head.detail = bytes[at] as number;
    head.hasTransport = true;
  }
}
