/** From a `nat` entry to the keys of its other half and of its connection, in bytes; layouts are those of BTF. */
import type { Btf } from '../native/index.ts';
import { Codecs } from './codec.ts';

const ADDRESS_BYTES = 16;
const PORT_BYTES = 2;
const EGRESS = 1;
const INGRESS = 0;

export interface Flow {
  isEgress: boolean;
  /** Begun by the node itself, not by a pod: conntrack does not know it. */
  ofNode: boolean;
  proto: number;
  egressKey: Buffer;
  ingressKey: Buffer;
  conntrackKey: Buffer;
}

export interface End {
  addr: Buffer;
  port: Buffer;
}

/** Where the fields of a key are that names a packet's two ends and its direction, and how long it is. */
export type DirectedKey = Record<'saddr' | 'daddr' | 'sport' | 'dport' | 'proto' | 'direction' | 'size', number>;

export function directedKey(codecs: Codecs, struct: 'nat_key' | 'service_flow_key'): DirectedKey {
  const at = (field: string): number => codecs.offsetOf(struct, field);
  const [saddr, daddr, sport, dport] = [at('saddr'), at('daddr'), at('sport'), at('dport')];
  return {
    saddr,
    daddr,
    sport,
    dport,
    proto: at('proto'),
    direction: at('direction'),
    size: codecs.struct(struct).size,
  };
}

export class FlowKeys {
  readonly #nat: DirectedKey;
  readonly #entry: Record<'addr' | 'port', number>;
  readonly #ct: Record<'a' | 'b' | 'portA' | 'portB' | 'proto' | 'size', number>;

  constructor(btf: Btf) {
    const codecs = new Codecs(btf);
    const ct = (field: string): number => codecs.offsetOf('ct_key', field);
    this.#nat = directedKey(codecs, 'nat_key');
    this.#entry = { addr: codecs.offsetOf('nat_entry', 'addr'), port: codecs.offsetOf('nat_entry', 'port') };
    this.#ct = {
      a: ct('a'),
      b: ct('b'),
      portA: ct('port_a'),
      portB: ct('port_b'),
      proto: ct('proto'),
      size: codecs.struct('ct_key').size,
    };
  }

  flowOf(key: Buffer, value: Buffer): Flow {
    const at = this.#nat;
    const isEgress = key[at.direction] === EGRESS;
    const source = end(key, at.saddr, at.sport);
    const destination = end(key, at.daddr, at.dport);
    const translated = end(value, this.#entry.addr, this.#entry.port);
    // Egress: inside -> remote, whose source becomes the node. Ingress: remote -> node, whose destination becomes inside.
    const [inside, remote, node] = isEgress ? [source, destination, translated] : [translated, source, destination];
    const proto = key[at.proto] ?? 0;
    return {
      isEgress,
      ofNode: inside.addr.equals(node.addr),
      proto,
      egressKey: this.#natKey(inside, remote, proto, EGRESS),
      ingressKey: this.#natKey(remote, node, proto, INGRESS),
      conntrackKey: this.conntrackKey(inside, remote, proto),
    };
  }

  #natKey(source: End, destination: End, proto: number, direction: number): Buffer {
    const at = this.#nat;
    const key = Buffer.alloc(at.size);
    source.addr.copy(key, at.saddr);
    destination.addr.copy(key, at.daddr);
    source.port.copy(key, at.sport);
    destination.port.copy(key, at.dport);
    key[at.proto] = proto;
    key[at.direction] = direction;
    return key;
  }

  /** As `ct_key_of` of bpf/lib/conntrack.h orders the ends. */
  conntrackKey(source: End, destination: End, proto: number): Buffer {
    const [a, b] = isAfter(source, destination) ? [destination, source] : [source, destination];
    const at = this.#ct;
    const key = Buffer.alloc(at.size);
    a.addr.copy(key, at.a);
    b.addr.copy(key, at.b);
    a.port.copy(key, at.portA);
    b.port.copy(key, at.portB);
    key[at.proto] = proto;
    return key;
  }
}

export const end = (from: Buffer, addr: number, port: number): End => ({
  addr: from.subarray(addr, addr + ADDRESS_BYTES),
  port: from.subarray(port, port + PORT_BYTES),
});

/** Host-order words: the last 8 bytes decide, then the first, then the port. */
function isAfter(source: End, destination: End): boolean {
  for (const at of [8, 0]) {
    const [left, right] = [source.addr.readBigUInt64LE(at), destination.addr.readBigUInt64LE(at)];
    if (left !== right) return left > right;
  }
  return source.port.readUInt16LE() > destination.port.readUInt16LE();
}
