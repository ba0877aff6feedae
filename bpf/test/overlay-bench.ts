// SPDX-License-Identifier: Apache-2.0
/**
 * A bench for packets between nodes: what a packet is wrapped with is read from where the program keeps it, and packets come in with the
 * key of a tunnel that they never went through.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { formatAddress, parseAddress } from '../../datapath/address.ts';
import type { Fields } from '../../datapath/codec.ts';
import { type BpfObject, type BpfProgram, openObject, possibleCpus } from '../../native/index.ts';
import {
  Bench,
  type BenchOptions,
  type Family,
  families,
  identities,
  macs,
  type Outcome,
  type Program,
} from './harness.ts';

const IPV6 = 1;
const KEY_BYTES = 44;
const GIVEN_BYTES = 48;
/** VNI of a packet without a key. */
export const NO_KEY = 0xffff_ffff;

export interface TunnelKey {
  vni: number;
  /** The other node. */
  remote: string;
}
/** `tunnel`: of a packet that was wrapped. */
export type Wrapped = Outcome & { tunnel?: TunnelKey };

export const tunnels = { vxlan: 1, geneve: 2 } as const;
export const encryptions = { wireguard: 1, ipsec: 2 } as const;
export const marks = { overlay: 0x0400, decrypt: 0x0d00, encrypt: 0x0e00, wireguard: 0x1e00, mask: 0x0f00 } as const;
export const OVERLAY_MTU = 1450;

const gatewayOf = (f: Family) => f.gateway;

export interface OverlayOptions extends BenchOptions {
  /** Family of the addresses that nodes have towards each other. */
  underlay?: Family;
  encryptKey?: number;
}

export class OverlayBench extends Bench {
  readonly underlay: Family;
  readonly #giver: BpfObject;
  readonly #withKey: BpfProgram;
  readonly #keyAt: number;

  constructor(name: string, { underlay = families[0], encryptKey = 0, config = {}, ...options }: OverlayOptions = {}) {
    const tunnel = { tunnel: tunnels.vxlan, tunnelPort: 8472 };
    super(name, { ...options, config: { ...tunnel, ...config } as Fields, links: ['overlay', 'chost', 'wg'] });
    this.underlay = underlay;
    execFileSync('make', ['--silent', '-C', join(import.meta.dirname, '..'), 'build/test/tunnel-key.o']);
    this.#giver = openObject(join(import.meta.dirname, '../build/test/tunnel-key.o'));
    this.#giver.load();
    this.#withKey = this.#giver.program('with_key');
    this.#keyAt = this.codecs.offsetOf('packet', 'tunnel_key');
    const [ipv4, ipv6] = families.map(gatewayOf);
    const addresses = { ipv4, ipv6, mac: macs.eth0, flags: 0 };
    this.put('netdevs', this.ifindex('overlay'), addresses);
    this.put('netdevs', this.ifindex('wg'), { ...addresses, ipv4: families[0].node, ipv6: families[1].node });
    this.put('devices', 1, { ifindex: this.ifindex('overlay'), mtu: OVERLAY_MTU });
    this.put('devices', 2, { ifindex: this.ifindex('wg'), mtu: 1420 });
    for (const f of families) {
      const there = { tunnelEndpoint: underlay.node2, encryptKey };
      this.ipcache(`${f.remote}/${f.bits}`, identities.remote, there);
      this.ipcache(f.v6 ? 'fd00:1::/64' : '10.0.1.0/24', f.worldIdentity, there);
      this.ipcache(`${f.node2}/${f.bits}`, identities.node2, { tunnelEndpoint: underlay.node2 });
    }
  }

  override close(): void {
    this.#giver.close();
    super.close();
  }

  /** A program on a packet, and what it was wrapped with. */
  send(...[program, link, packet, ctx = {}]: Parameters<Bench['run']>): Wrapped {
    const scratch = this.object.map('scratch');
    const index = Buffer.alloc(4);
    scratch.put(index, Buffer.alloc(scratch.info.valueBytes));
    const outcome = this.run(program, link, packet, ctx);
    const magic = outcome.mark & marks.mask;
    if (outcome.verdict !== 'redirect' || (magic !== marks.overlay && magic !== marks.encrypt)) return outcome;
    const tunnel = this.#key(scratch.get(index) ?? Buffer.alloc(0), scratch.info.valueBytes);
    return tunnel ? { ...outcome, tunnel } : outcome;
  }

  /** Of the one CPU on which the program ran. */
  #key(values: Buffer, bytes: number): TunnelKey | undefined {
    for (let at = this.#keyAt; at + KEY_BYTES <= values.length; at += bytes / possibleCpus()) {
      const key = values.subarray(at, at + KEY_BYTES);
      if (key.readUInt32LE(0) !== 0) return { vni: key.readUInt32LE(0), remote: this.#remote(key) };
    }
    return undefined;
  }

  #remote(key: Buffer): string {
    if (this.underlay.v6) return formatAddress(key.subarray(4, 20));
    const address = Buffer.alloc(4);
    address.writeUInt32BE(key.readUInt32LE(4));
    return formatAddress(address);
  }

  /** A packet that came through the tunnel with this key. */
  receive(packet: Buffer, { vni, remote }: TunnelKey, program: Program = 'from_overlay'): Wrapped {
    const v6 = remote.includes(':');
    const given = Buffer.alloc(GIVEN_BYTES);
    given.writeUInt32LE(vni, 0);
    // Of a key that was set the local end is the source.
    const address = parseAddress(remote);
    if (v6) for (const at of [4, 28]) address.copy(given, at);
    else for (const at of [4, 28]) given.writeUInt32LE(address.readUInt32BE(0), at);
    given.writeUInt32LE(v6 ? IPV6 : 0, KEY_BYTES);
    this.#giver.map('given').put(Buffer.alloc(4), given);
    const fd = Buffer.alloc(4);
    fd.writeUInt32LE(this.object.program(program).fd);
    this.#giver.map('next').put(Buffer.alloc(4), fd);
    return this.send(this.#withKey, 'overlay', packet);
  }
}
