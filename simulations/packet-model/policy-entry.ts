/** One entry of a policy map, from its key as `state/tables.ts` writes it. */
import type { PolicyEntryRow } from '../../state/tables.ts';

export interface Entry {
  identity: number;
  /** 0: any. */
  proto: number;
  port: number;
  /** How many bits of protocol and port it fixes: 0, 8, or 8 and those of the port. */
  length: number;
  deny: boolean;
  precedence: number;
  cookie: number;
}

const PROTOCOLS: Readonly<Record<string, number>> = { ANY: 0, ICMP: 1, TCP: 6, UDP: 17, ICMPv6: 58, SCTP: 132 };
const PROTO_BITS = 8;
const PORT_BITS = 16;

/** Number of a protocol as policy keys name it; unnamed ones stand as numbers. */
export function protocolNumber(name: string): number {
  const number = PROTOCOLS[name] ?? Number(name);
  if (!Number.isInteger(number)) throw new TypeError(`${name} is no protocol`);
  return number;
}

export function entryOf(key: string, { deny, precedence, cookie }: PolicyEntryRow): Entry {
  const [, , identity = '', protocol = '', port = ''] = key.split('|');
  const proto = protocolNumber(protocol);
  const [number = '', bits] = port === '*' ? ['0', '0'] : port.split('/');
  const portBits = bits === undefined ? PORT_BITS : Number(bits);
  const length = proto === 0 ? 0 : PROTO_BITS + portBits;
  return { identity: Number(identity), proto, port: Number(number), length, deny, precedence, cookie };
}

export function matches({ proto, port, length }: Entry, packetProto: number, packetPort: number): boolean {
  if (length === 0) return true;
  const free = PROTO_BITS + PORT_BITS - length;
  return proto === packetProto && port >> free === packetPort >> free;
}
