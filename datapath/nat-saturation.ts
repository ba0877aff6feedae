/**
 * How much of a node's ports the remote end takes that takes most of them: NAT for it fails when none is left.
 *
 * - Seen are the ingress halves in a sweep: one for each flow, and their keys name node and remote end.
 */
import type { Btf } from '../native/index.ts';
import { Codecs } from './codec.ts';
import { directedKey } from './flow-keys.ts';

const INGRESS = 0;
/** Ends that are told apart; one that takes many ports is among the first. */
const ENDS_MAX = 65_536;
/** IPv4 in a map's address. */
const MAPPED = Buffer.from('00000000000000000000ffff', 'hex').toString('latin1');

export interface NatSaturation {
  ipv4: number;
  ipv6: number;
}

export class NatSaturations {
  readonly #at: ReturnType<typeof directedKey>;
  readonly #ports: number;
  #flows = new Map<string, number>();

  constructor(btf: Btf, ports: number) {
    this.#at = directedKey(new Codecs(btf), 'nat_key');
    this.#ports = ports;
  }

  see(key: Buffer): void {
    const at = this.#at;
    if (key[at.direction] !== INGRESS) return;
    // All but the node's port.
    const end = key.toString('latin1', 0, at.dport) + String.fromCharCode(key[at.proto] ?? 0);
    const count = this.#flows.get(end);
    if (count !== undefined) this.#flows.set(end, count + 1);
    else if (this.#flows.size < ENDS_MAX) this.#flows.set(end, 1);
  }

  /** Of what was seen since the last time, 0 to 1. */
  take(): NatSaturation {
    let [ipv4, ipv6] = [0, 0];
    for (const [end, count] of this.#flows) {
      if (end.startsWith(MAPPED)) ipv4 = Math.max(ipv4, count);
      else ipv6 = Math.max(ipv6, count);
    }
    this.#flows = new Map();
    const share = (count: number): number => Math.min(1, count / this.#ports);
    return { ipv4: share(ipv4), ipv6: share(ipv6) };
  }
}
