/** From a `service_flows` entry to the keys of its connection and of its other half, in bytes; layouts are those of BTF. */
import type { Btf } from '../native/index.ts';
import { Codecs } from './codec.ts';
import { type DirectedKey, directedKey, type End, end, FlowKeys } from './flow-keys.ts';

const FORWARD = 0;
/** enum service_flow_flags of bpf/lib/structs-services.h. */
const HAIRPIN = 1;

export interface ServiceFlow {
  /** Between client and backend. */
  conntrackKey: Buffer;
  /** Of a reply entry: the entry of the client's packets. */
  forwardKey: Buffer | undefined;
}

export class ServiceFlowKeys {
  readonly #key: DirectedKey;
  readonly #value: Record<'addr' | 'port' | 'flags', number>;
  readonly #flows: FlowKeys;

  constructor(btf: Btf) {
    const codecs = new Codecs(btf);
    const value = (field: string): number => codecs.offsetOf('service_flow', field);
    this.#key = directedKey(codecs, 'service_flow_key');
    this.#value = { addr: value('addr'), port: value('port'), flags: value('flags') };
    this.#flows = new FlowKeys(btf);
  }

  /** Undefined for the forward entry of a pod that reaches itself: it goes with its other half, which knows the connection. */
  flowOf(key: Buffer, value: Buffer): ServiceFlow | undefined {
    const at = this.#key;
    const proto = key[at.proto] ?? 0;
    const isHairpin = ((value[this.#value.flags] ?? 0) & HAIRPIN) !== 0;
    const source = end(key, at.saddr, at.sport);
    const destination = end(key, at.daddr, at.dport);
    const other = end(value, this.#value.addr, this.#value.port);
    if (key[at.direction] !== FORWARD) {
      // From the backend to the client, whose own address is the backend's if it is the same pod.
      const client = isHairpin ? { addr: source.addr, port: destination.port } : destination;
      return {
        conntrackKey: this.#flows.conntrackKey(source, destination, proto),
        forwardKey: this.#forwardKey(client, other, proto),
      };
    }
    if (isHairpin) return undefined;
    return { conntrackKey: this.#flows.conntrackKey(source, other, proto), forwardKey: undefined };
  }

  #forwardKey(client: End, frontend: End, proto: number): Buffer {
    const at = this.#key;
    const key = Buffer.alloc(at.size);
    client.addr.copy(key, at.saddr);
    client.port.copy(key, at.sport);
    frontend.addr.copy(key, at.daddr);
    frontend.port.copy(key, at.dport);
    key[at.proto] = proto;
    key[at.direction] = FORWARD;
    return key;
  }
}
