/**
 * What a policy map can match below the identity: any protocol, a protocol, or a protocol and a power of two of ports.
 *
 * A `PortKey` is one number, so that sets of them are cheap: protocol (0: any, and then no ports), bits of the port that count, port.
 */
import type { NamedPort } from './change.ts';
import { type PortMatch, type ProtocolName, protocolNumbers, type RuleProtocol } from './rule.ts';

export type PortKey = number;

const PORT_BITS = 16;
const PORT_LAST = 0xffff;

export const ALL_TRAFFIC: PortKey = 0;

const portKey = (protocol: number, bits: number, port: number): PortKey => (protocol << 21) | (bits << 16) | port;
const protocolOf = (key: PortKey): number => key >>> 21;
const bitsOf = (key: PortKey): number => (key >>> 16) & 31;
const portOf = (key: PortKey): number => key & PORT_LAST;

const protocolNames = new Map<number, ProtocolName>(
  Object.entries(protocolNumbers).map(([name, number]) => [number, name as ProtocolName]),
);

const anyProtocols: readonly number[] = [protocolNumbers.TCP, protocolNumbers.UDP, protocolNumbers.SCTP];
const numbersOf = (protocol: RuleProtocol): readonly number[] =>
  protocol === 'ANY' ? anyProtocols : [protocolNumbers[protocol]];

/** The fewest aligned powers of two that are together first..last: at most 30. */
export function portBlocks(first: number, last: number): { port: number; bits: number }[] {
  const blocks: { port: number; bits: number }[] = [];
  for (let port = first; port <= last; ) {
    let size = port === 0 ? PORT_LAST + 1 : port & -port;
    while (port + size - 1 > last) size >>= 1;
    blocks.push({ port, bits: PORT_BITS - Math.log2(size) });
    port += size;
  }
  return blocks;
}

export function keysOf(match: PortMatch, named: readonly NamedPort[]): PortKey[] {
  switch (match.kind) {
    case 'range': {
      const blocks = portBlocks(match.first, match.last);
      return numbersOf(match.protocol).flatMap((protocol) =>
        blocks.map(({ port, bits }) => portKey(protocol, bits, port)),
      );
    }
    case 'named':
      return named
        .filter(({ name, protocol }) => name === match.name && isProtocol(match.protocol, protocol))
        .map(({ protocol, port }) => portKey(protocolNumbers[protocol], PORT_BITS, port));
    case 'icmp':
      return [portKey(protocolNumbers[match.protocol], PORT_BITS, match.type)];
  }
}

export const isProtocol = (wanted: RuleProtocol, protocol: ProtocolName): boolean =>
  wanted === protocol || (wanted === 'ANY' && anyProtocols.includes(protocolNumbers[protocol]));

/** Everything that `inner` matches `outer` matches; a key covers itself. */
export function covers(outer: PortKey, inner: PortKey): boolean {
  if (protocolOf(outer) === 0) return true;
  if (protocolOf(outer) !== protocolOf(inner) || bitsOf(outer) > bitsOf(inner)) return false;
  return (portOf(outer) ^ portOf(inner)) >>> (PORT_BITS - bitsOf(outer)) === 0;
}

/** The next broader key; undefined for all traffic. */
export function broader(key: PortKey): PortKey | undefined {
  const [protocol, bits] = [protocolOf(key), bitsOf(key)];
  if (bits > 0) return portKey(protocol, bits - 1, portOf(key) & ~(1 << (PORT_BITS - bits)));
  return protocol === 0 ? undefined : ALL_TRAFFIC;
}

/** As a `PolicyEntryRow`'s key has it. */
export function portText(key: PortKey): { protocol: ProtocolName | 'ANY'; port: string } {
  const protocol = protocolNames.get(protocolOf(key)) ?? 'ANY';
  const [bits, port] = [bitsOf(key), portOf(key)];
  return { protocol, port: bits === 0 ? '*' : bits === PORT_BITS ? `${port}` : `${port}/${bits}` };
}

/** Broad before narrow; the order of entries in a group. */
export const byBreadth = (a: PortKey, b: PortKey): number => bitsOf(a) - bitsOf(b) || a - b;
