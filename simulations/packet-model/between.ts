/**
 * Between nodes: what a packet is wrapped with, whose it is when it arrives, and what may not leave in clear.
 *
 * - A key carries the source's identity. What means something on one node only goes as world, the node itself as remote-node; world is,
 *   on arrival, what the address is there.
 * - A destination with a key is never reached in clear by a pod; strict mode holds for every two addresses that may be pods'.
 */
import type { NetdevRow } from '../../state/tables.ts';
import { contains, isV6 } from './address.ts';
import { type Packet, protocols } from './packet.ts';
import type { ModelTables } from './tables.ts';

export interface BetweenConfig {
  tunnel: boolean;
  /** UDP. */
  tunnelPort: number;
  encryption: 'none' | 'wireguard' | 'ipsec';
  strict: boolean;
  nodeEncryption: boolean;
  /** Where pods are, known or not. */
  podRanges: readonly string[];
}

export const alone: BetweenConfig = {
  tunnel: false,
  tunnelPort: 0,
  encryption: 'none',
  strict: false,
  nodeEncryption: false,
  podRanges: [],
};

/** Of a wrapped packet: the VNI, and the node at the other end. */
export interface TunnelKey {
  vni: number;
  remote: string;
}

export interface Wrapped {
  tunnel: TunnelKey;
  /** skb->mark of the outer packet. */
  mark: number;
}

const reserved = { host: 1, world: 2, remoteNode: 6, apiServer: 7, worldV4: 9, worldV6: 10 };
const marks = { overlay: 0x0400, encrypt: 0x0e00 };
const UNENCRYPTED = 'UNENCRYPTED_TRAFFIC';
const NO_NODE = 'NO_NODE_ID';
const CIDR_SCOPE = 1;
const NODE_SCOPE = 2;
const scopeOf = (identity: number): number => identity >>> 24;

export const isWorld = (identity: number): boolean =>
  identity === reserved.world ||
  identity === reserved.worldV4 ||
  identity === reserved.worldV6 ||
  scopeOf(identity) === CIDR_SCOPE;
const isNode = (identity: number): boolean =>
  identity === reserved.host ||
  identity === reserved.remoteNode ||
  identity === reserved.apiServer ||
  scopeOf(identity) === NODE_SCOPE;

export function vniOf(identity: number): number {
  if (identity === reserved.host) return reserved.remoteNode;
  return isWorld(identity) || scopeOf(identity) !== 0 ? reserved.world : identity;
}

export class Between {
  readonly #tables: ModelTables;
  readonly #config: BetweenConfig;
  readonly #identityOf: (address: string) => number;

  constructor(tables: ModelTables, config: BetweenConfig, identityOf: (address: string) => number) {
    this.#tables = tables;
    this.#config = config;
    this.#identityOf = identityOf;
  }

  /** The node that an address is reached at by tunnel; empty: none. */
  endpointOf(address: string): string {
    return this.#config.tunnel ? (this.#tables.addresses.find(address)?.tunnelEndpoint ?? '') : '';
  }

  /** The address that a service's packets go on under: of the device that they leave by. `own`: of the one that they came by. */
  ownTowards(to: string, own: string): string {
    const overlay = this.#tables.devices.get('overlay')?.link;
    const of = (row: NetdevRow | undefined): string => (isV6(to) ? row?.ipv6 : row?.ipv4) ?? '';
    const wrapping = of(this.#tables.netdevs.get(overlay ?? ''));
    if (this.endpointOf(to)) return wrapping;
    if (!overlay || own !== wrapping) return own;
    const native = [...this.#tables.netdevs].find(([link]) => link !== overlay);
    return of(native?.[1]);
  }

  /** Would it come to the tunnel of a node, as from anybody? Only nodes may send that. */
  isForged({ proto, dport }: Packet, peer: number): boolean {
    const { tunnel, tunnelPort } = this.#config;
    return tunnel && proto === protocols.udp && dport === tunnelPort && isNode(peer);
  }

  /** Longer than what fits once it is wrapped. */
  isTooLong({ length = 0 }: Packet): boolean {
    const mtu = this.#tables.devices.get('overlay')?.mtu ?? 0;
    return mtu > 0 && length > mtu;
  }

  /** Who sent a packet with this key; undefined: no key may say so. */
  senderOf({ from }: Packet, { vni }: TunnelKey): number | undefined {
    if (vni === 0 || vni === reserved.host) return undefined;
    const known = this.#identityOf(from);
    if (isWorld(vni)) return isWorld(known) ? known : this.world(from);
    return vni === reserved.remoteNode && known !== reserved.host && isNode(known) ? known : vni;
  }

  world(address: string): number {
    return isV6(address) ? reserved.worldV6 : reserved.worldV4;
  }

  wrap(packet: Packet, source: number): Wrapped | { reason: string } {
    const vni = vniOf(source);
    const { tunnelEndpoint: remote = '', encryptKey = 0 } = this.#tables.addresses.find(packet.to) ?? {};
    if (!remote || !this.#tables.devices.has('overlay')) return { reason: 'NO_TUNNEL_OR_ENCAPSULATION_ENDPOINT' };
    const tunnel = { vni, remote };
    const { encryption } = this.#config;
    if (encryption === 'none' || !encryptKey) {
      if (this.#isForbidden(packet, source)) return { reason: UNENCRYPTED };
      return { tunnel, mark: (marks.overlay | (vni << 16) | (vni >> 16)) >>> 0 };
    }
    if (encryption === 'wireguard') return { tunnel, mark: marks.encrypt };
    const mark = this.#ipsecMark(remote, encryptKey);
    return mark === undefined ? { reason: NO_NODE } : { tunnel, mark };
  }

  /** Why an answer of this node's to a packet that came by tunnel cannot go back. */
  unheard({ from, to, ...rest }: Packet): { unheard?: string } {
    const answer = this.wrap({ ...rest, from: to, to: from }, reserved.host);
    return 'reason' in answer ? { unheard: answer.reason } : {};
  }

  #ipsecMark(node: string, key: number): number | undefined {
    const row = this.#tables.nodes.get(node);
    return row && (marks.encrypt | ((row.encryptKey || key) << 12) | (row.nodeId << 16)) >>> 0;
  }

  /** Without a tunnel: the mark for the stack to encrypt a pod's packet by; 0: it need not. */
  marked(packet: Packet): number | { reason: string } {
    const { tunnelEndpoint = '', encryptKey = 0 } = this.#tables.addresses.find(packet.to) ?? {};
    if (this.#config.encryption !== 'ipsec' || !encryptKey) return 0;
    return this.#ipsecMark(tunnelEndpoint, encryptKey) ?? { reason: NO_NODE };
  }

  /** What leaves a native device as it is: it may, WireGuard takes it, or it is dropped. */
  leaving(packet: Packet): 'pass' | 'wireguard' | { reason: string } {
    const { encryption, nodeEncryption } = this.#config;
    if (encryption === 'none') return 'pass';
    const wireguard = this.#tables.devices.has('wireguard') ? 'wireguard' : { reason: UNENCRYPTED };
    const source = this.#identityOf(packet.from);
    const isPod = !isNode(source) && !isWorld(source);
    const key = this.#tables.addresses.find(packet.to)?.encryptKey ?? 0;
    if (key && encryption === 'wireguard' && (isPod || (nodeEncryption && source === reserved.host))) return wireguard;
    if ((key && encryption === 'ipsec' && isPod) || this.#isForbidden(packet, source)) return { reason: UNENCRYPTED };
    return 'pass';
  }

  #isForbidden({ from, to }: Packet, source: number): boolean {
    if (!this.#config.strict) return false;
    return this.#mayBePod(source, from) && this.#mayBePod(this.#identityOf(to), to);
  }

  #mayBePod(identity: number, address: string): boolean {
    if (isNode(identity)) return false;
    const inRange = (range: string): boolean => isV6(range) === isV6(address) && contains(range, address);
    return !isWorld(identity) || this.#config.podRanges.some(inRange);
  }
}
