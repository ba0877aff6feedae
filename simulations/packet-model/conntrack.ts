/**
 * Connections: one for two ends, whichever sends.
 *
 * - A SYN on a closing connection begins a new one; a connection's first packet need not be a SYN.
 * - An ICMP error about a known connection is related to it and leaves no trace.
 */

import { endKey, isIcmpError, type Packet, protocols, type Tuple, tcpFlags } from './packet.ts';
import type { Direction } from './policy.ts';

export type ConnectionState = 'new' | 'established' | 'reply' | 'related';

/** At which revision, and for which peer identity, policy last let the connection through in a direction. */
export interface Checked {
  revision: number;
  identity: number;
}

export interface Connection {
  /** The end that began it. */
  origin: string;
  isClosing: boolean;
  /** It began at a frontend. */
  isService: boolean;
  hasReply: boolean;
  checked: Partial<Record<Direction, Checked>>;
}

export function connectionKey({ from, to, proto, sport, dport }: Tuple): string {
  const ends = [endKey(from, sport), endKey(to, dport)].sort();
  return `${proto} ${ends.join(' ')}`;
}

export class Connections {
  readonly known = new Map<string, Connection>();

  stateOf(packet: Packet): { state: ConnectionState; connection: Connection | undefined } {
    if (isIcmpError(packet)) {
      const { inner } = packet;
      const isKnown = inner !== undefined && inner.from === packet.to && this.known.has(connectionKey(inner));
      return { state: isKnown ? 'related' : 'new', connection: undefined };
    }
    const connection = this.known.get(connectionKey(packet));
    if (!connection || (connection.isClosing && isOpening(packet))) return { state: 'new', connection: undefined };
    const isOrigin = connection.origin === endKey(packet.from, packet.sport);
    return { state: isOrigin ? 'established' : 'reply', connection };
  }

  /** A packet has passed. */
  note(packet: Packet, state: ConnectionState, checked: Connection['checked'], isService = false): void {
    if (isIcmpError(packet)) return;
    const key = connectionKey(packet);
    const before = state === 'new' ? undefined : this.known.get(key);
    const connection = before ?? {
      origin: endKey(packet.from, packet.sport),
      isClosing: false,
      isService: false,
      hasReply: false,
      checked: {},
    };
    connection.isService ||= isService;
    connection.hasReply ||= state === 'reply';
    Object.assign(connection.checked, checked);
    connection.isClosing ||= ((packet.tcpFlags ?? 0) & (tcpFlags.fin | tcpFlags.rst)) !== 0;
    this.known.set(key, connection);
  }
}

const isOpening = ({ proto, tcpFlags: flags = 0 }: Packet): boolean =>
  (proto === protocols.tcp || proto === protocols.sctp) && (flags & (tcpFlags.syn | tcpFlags.ack)) === tcpFlags.syn;
