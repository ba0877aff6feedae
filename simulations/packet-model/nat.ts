/**
 * Connections that go on under the node's address, and what comes back to it.
 *
 * - The client's port is kept if it is in range and nobody else has it towards that remote end, else any free one of the range.
 * - SCTP's checksum covers its ports: it keeps its port or does not pass.
 */
import { type Packet, protocols, type Tuple } from './packet.ts';

export const natPorts = { min: 32_768, max: 65_535 };

/** Chance: a port for which `isFree` holds; undefined: none of the tries found one. */
export type ChoosePort = (isFree: (port: number) => boolean) => number | undefined;

const claimKey = (node: string, proto: number, remote: string, remotePort: number, port: number): string =>
  `${node} ${proto} ${remote} ${remotePort} ${port}`;
const flowKey = ({ from, to, proto, sport, dport }: Tuple): string => `${proto} ${from} ${sport} ${to} ${dport}`;
const inRange = (port: number): boolean => port >= natPorts.min && port <= natPorts.max;

export class Nat {
  readonly #choosePort: ChoosePort;
  readonly #ports = new Map<string, number>();
  readonly #claims = new Map<string, { address: string; port: number }>();

  constructor(choosePort: ChoosePort) {
    this.#choosePort = choosePort;
  }

  /** The packet as it leaves, or why it does not. */
  outgoing(packet: Packet, node: string): Packet | { reason: string } {
    const known = this.#ports.get(flowKey(packet));
    if (known !== undefined) return { ...packet, from: node, sport: known };
    if (!node) return { reason: 'NO_MAPPING_FOR_NAT_MASQUERADE' };
    const { proto, to, dport, sport } = packet;
    const isFree = (port: number): boolean => {
      const owner = this.#claims.get(claimKey(node, proto, to, dport, port));
      return !owner || (owner.address === packet.from && owner.port === sport);
    };
    const isFixed = proto === protocols.sctp;
    const keeps = (isFixed || inRange(sport)) && isFree(sport);
    if (isFixed && !keeps) return { reason: 'UNSUPPORTED_PROTOCOL_FOR_NAT_MASQUERADE' };
    const port = keeps ? sport : this.#choosePort((one) => inRange(one) && isFree(one));
    if (port === undefined) return { reason: 'NO_MAPPING_FOR_NAT_MASQUERADE' };
    this.#ports.set(flowKey(packet), port);
    this.#claims.set(claimKey(node, proto, to, dport, port), { address: packet.from, port: sport });
    return { ...packet, from: node, sport: port };
  }

  /** A packet to the node's address; undefined: it is for nobody but the node. */
  incoming(packet: Packet): Packet | undefined {
    const owner = this.#claims.get(claimKey(packet.to, packet.proto, packet.from, packet.sport, packet.dport));
    return owner && { ...packet, to: owner.address, dport: owner.port };
  }
}
