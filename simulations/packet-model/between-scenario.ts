/**
 * Random nodes, pods and services, told to the programs and to the packet model alike, in each way that packets go between nodes.
 *
 * - One seed decides everything: `SEED` of the environment, 1 in CI.
 */
import { expect } from 'vitest';
import { type Family, families, type Link, type PolicyEntry } from '../../bpf/test/harness.ts';
import { encryptions, OVERLAY_MTU, type OverlayBench, tunnels } from '../../bpf/test/overlay-bench.ts';
import type { OpResult } from '../../datapath/driver.ts';
import type { ServicesDriver } from '../../datapath/drivers/services.ts';
import { policyEntryKey, type TableName } from '../../state/tables.ts';
import { seeded } from '../node/clock.ts';
import {
  type AnyRow,
  ModelTables,
  type Outcome,
  type Packet,
  PacketModel,
  type Place,
  usualConfig,
} from '../packet-model.ts';
import { applyTo } from '../prefix-check.ts';
import { alone, type BetweenConfig } from './between.ts';
import { protocols } from './packet.ts';
import { type Dice, opsBetween, randomServices } from './service-scenario.ts';
import { expected, fromBytes, type Seen, toBytes } from './wire.ts';

export const seed = Number(process.env.SEED ?? (process.env.CI ? 1 : Date.now() % 1_000_000));
let random = seeded(seed);
/** Each mode has its own chance, so that it can be run by itself. */
export const restart = (mode: string): void => {
  random = seeded(seed + modes.findIndex(({ name }) => name === mode));
};
export const dice: Dice = {
  below: (end) => Math.floor(random() * end),
  chance: (share) => random() < share,
  pick: (from) => from[Math.floor(random() * from.length)] as (typeof from)[number],
};
const { chance, pick } = dice;

export const PODS = ['a', 'b'] as const;
export const links = { a: 'lxca', b: 'lxcb' } as const;
const ids = { a: 1, b: 2 } as const;
const podIdentities = { a: 1001, b: 1002 } as const;
export const protocolNumbers = { TCP: protocols.tcp, UDP: protocols.udp, SCTP: protocols.sctp };
const podRanges = { strictIpv4: '10.0.0.0/15', strictIpv6: 'fd00::/31' };
/** Of whom packets come and go: pods, nodes, the world, the API server, CIDRs and nodes of this node's own numbering. */
const strangers = [1003, 70_000, 0xff_ffff, 6, 7, 2, 9, 10, 4, 0x0100_0003, 0x0200_0003] as const;
export const vnis = [1003, 1003, 70_000, 0xff_ffff, 2, 2, 6, 7, 9, 10, 4, 0, 1] as const;

export const policy: readonly PolicyEntry[] = (['ingress', 'egress'] as const).flatMap((direction) => [
  { direction, proto: protocols.tcp, identity: 1003, precedence: 1 },
  { direction, proto: protocols.udp, precedence: 1 },
  { direction, proto: protocols.udp, identity: 70_000, deny: true, precedence: 255 },
  { direction, proto: protocols.tcp, dport: 8080, precedence: 1 },
  { direction, identity: 0x0100_0003, precedence: 1 },
]);
const policyNames: Record<number, string> = { 0: 'ANY', 6: 'TCP', 17: 'UDP' };

/** Each is a load of the programs. */
export const modes: { name: string; config: Record<string, unknown>; between: BetweenConfig }[] = [
  { name: 'vxlan', config: {}, between: { ...alone, tunnel: true, tunnelPort: 8472 } },
  {
    name: 'vxlan-wg',
    config: { encryption: encryptions.wireguard, encryptionStrict: 1, ...podRanges },
    between: {
      ...alone,
      tunnel: true,
      tunnelPort: 8472,
      encryption: 'wireguard',
      strict: true,
      podRanges: Object.values(podRanges),
    },
  },
  {
    name: 'geneve-ipsec',
    config: { tunnel: tunnels.geneve, encryption: encryptions.ipsec },
    between: { ...alone, tunnel: true, tunnelPort: 8472, encryption: 'ipsec' },
  },
  {
    name: 'native-wg',
    config: { tunnel: 0, encryption: encryptions.wireguard, encryptionStrict: 1, nodeEncryption: 1, ...podRanges },
    between: {
      ...alone,
      encryption: 'wireguard',
      strict: true,
      nodeEncryption: true,
      podRanges: Object.values(podRanges),
    },
  },
  {
    name: 'native-ipsec',
    config: { tunnel: 0, encryption: encryptions.ipsec },
    between: { ...alone, encryption: 'ipsec' },
  },
];

export interface Met {
  place: Place;
  packet: Packet;
}

export class Scenario {
  readonly tables = new ModelTables();
  readonly past: { met: Met; outcome: Outcome }[] = [];
  readonly #bench: OverlayBench;
  readonly #driver: ServicesDriver;
  readonly #model: PacketModel;
  readonly #family: Family;
  #rows: ReadonlyMap<string, AnyRow>;
  #real: Seen | undefined;
  #noted = { to: '', dport: 0 };
  #isDrop = false;
  /** The port that was claimed for a packet that was dropped after all. */
  #claimed = 0;

  constructor(
    bench: OverlayBench,
    driver: ServicesDriver,
    between: BetweenConfig,
    f: Family,
    before: ReadonlyMap<string, AnyRow>,
  ) {
    this.#bench = bench;
    this.#driver = driver;
    this.#family = f;
    this.#rows = before;
    bench.clear('conntrack', 'service_flows', 'affinity', 'nat', 'ipcache', 'nodes');
    this.#model = new PacketModel(
      this.tables,
      { ...usualConfig, between },
      (among, isDropPossible) => this.#chosen(among, isDropPossible),
      (isFree) => [this.#real?.sport ?? this.#claimed].find(isFree),
    );
    const own = { mac: '', flags: 0 };
    this.#tell('bpf.netdevs', 'eth0', { ...own, ipv4: families[0].node, ipv6: families[1].node });
    this.#tell('bpf.netdevs', 'overlay', { ...own, ipv4: families[0].gateway, ipv6: families[1].gateway });
    this.#tell('bpf.devices', 'overlay', { link: 'overlay', mtu: OVERLAY_MTU });
    this.#tell('bpf.devices', 'wireguard', { link: 'wg', mtu: 1420 });
    for (const pod of PODS) this.#pod(pod);
    for (const one of families) this.#elsewhere(one);
    for (const row of before.values()) this.tables.put(row);
  }

  #tell(table: TableName, key: string, value: unknown): void {
    this.tables.put({ table, key, value });
  }

  #pod(pod: (typeof PODS)[number]): void {
    const flags = pick([0, 0, 1, 2, 3]);
    const identity = chance(0.8) ? podIdentities[pod] : pick([70_001, 0xff_fffe, 4]);
    this.#bench.endpoint(pod, { flags, policyRevision: 1, identity });
    this.#tell('bpf.policy-maps', String(ids[pod]), {});
    for (const { direction, identity: peer = 0, proto = 0, dport = 0, deny = false, precedence = 1 } of policy) {
      const key = policyEntryKey(ids[pod], direction, peer, policyNames[proto] ?? '', dport ? String(dport) : '*');
      this.#tell('bpf.policy', key, { deny, precedence, cookie: 1, origins: [] });
    }
    for (const f of families) {
      this.#tell('bpf.endpoints', f[pod], { link: links[pod], identity, id: ids[pod], flags, policyRevision: 1 });
      this.#address(`${f[pod]}/${f.bits}`, identity);
    }
  }

  #address(cidr: string, identity: number, there: { tunnelEndpoint?: string; encryptKey?: number } = {}): void {
    const { tunnelEndpoint = '', encryptKey = 0 } = there;
    this.#bench.ipcache(cidr, identity, { tunnelEndpoint, encryptKey });
    this.#tell('bpf.ipcache', cidr, { identity, tunnelEndpoint, encryptKey, flags: 0 });
  }

  /** What is known of other nodes and of the world. */
  #elsewhere(f: Family): void {
    const nodes = [this.#bench.underlay.node2, this.#bench.underlay.router];
    const there = () => ({ tunnelEndpoint: chance(0.85) ? pick(nodes) : '', encryptKey: pick([0, 3, 3, 15]) });
    for (const address of [f.node, f.gateway]) this.#address(`${address}/${f.bits}`, 1);
    if (chance(0.8)) this.#address(`${f.remote}/${f.bits}`, pick(strangers), there());
    if (chance(0.8)) this.#address(f.v6 ? 'fd00:1::/64' : '10.0.1.0/24', f.worldIdentity, there());
    if (chance(0.8)) this.#address(`${f.node2}/${f.bits}`, pick([6, 7]), chance(0.5) ? there() : {});
    if (chance(0.4)) this.#address(f.v6 ? '2001:db8:99::/48' : '203.0.113.0/24', pick(strangers));
    for (const node of nodes) {
      if (chance(0.2)) continue;
      const row = { nodeId: pick([1, 0x9234, 0xffff]), encryptKey: pick([0, 0, 4]) };
      this.#bench.put('nodes', node, row);
      this.#tell('bpf.nodes', node, row);
    }
  }

  async change(): Promise<ReadonlyMap<string, AnyRow>> {
    const after = randomServices(dice, this.#family);
    for (const ops of opsBetween(this.#rows, after)) {
      const results = (await this.#driver.apply(ops)) as OpResult[];
      expect(results.filter((result) => result !== undefined)).toEqual([]);
      for (const op of ops) applyTo(this.tables, op);
    }
    this.#rows = after;
    return after;
  }

  /** The backend that the programs chose, if they might. */
  #chosen(among: readonly string[], isDropPossible: boolean): string | undefined {
    if (this.#isDrop && isDropPossible) return undefined;
    const { to, dport } = this.#real ?? this.#noted;
    const isIt = (name: string): boolean => {
      const row = this.tables.backends.get(name)?.row;
      return row?.address === to && row.port === dport;
    };
    return among.find(isIt) ?? among[0];
  }

  send(met: Met): { model: unknown; programs: unknown } {
    const { place, packet } = met;
    const bytes = toBytes(packet);
    const real = place.tunnel
      ? this.#bench.receive(bytes, place.tunnel)
      : this.#bench.send(place.program, place.link as Link, bytes);
    const isForwarded = real.verdict !== 'drop' && real.drops.length === 0;
    this.#real = isForwarded ? fromBytes(real.data).outer : undefined;
    this.#noted = this.#notedOf(packet);
    this.#claimed = this.#claimedFor(packet);
    this.#isDrop = real.drops.includes('NO_MAPPING_FOR_NAT_MASQUERADE');
    const outcome = this.#model.process(place, packet);
    this.past.push({ met, outcome });
    const { tunnel } = real as { tunnel?: unknown };
    const mark = [0x0400, 0x0e00].includes(real.mark & 0x0f00) ? real.mark : 0;
    const programs = {
      verdict: real.verdict,
      drops: real.drops,
      ...(isForwarded && { packet: this.#real, tunnel, mark }),
    };
    return { model: seenOf(packet, outcome), programs };
  }

  #claimedFor({ from, proto, sport }: Packet): number {
    const { to, dport } = this.#noted;
    if (!to) return 0;
    const entry = this.#bench.get('nat', { saddr: from, daddr: to, sport, dport, proto, direction: 1 });
    return (entry as { port: number } | undefined)?.port ?? 0;
  }

  #notedOf({ from, to, proto, sport, dport }: Packet): { to: string; dport: number } {
    const flow = this.#bench.get('service_flows', { saddr: from, daddr: to, sport, dport, proto, direction: 0 });
    const { addr = '', port = 0 } = (flow ?? {}) as { addr?: string; port?: number };
    return { to: addr, dport: port };
  }
}

function seenOf({ tcpFlags = 0, proto }: Packet, outcome: Outcome): unknown {
  if (outcome.verdict === 'drop') return { verdict: 'drop', drops: [outcome.reason] };
  if (outcome.verdict === 'refuse') {
    // A reset is never answered.
    if (proto === protocols.tcp && tcpFlags & 4) return { verdict: 'drop', drops: [outcome.reason] };
    const { reason, unheard } = outcome;
    return unheard ? { verdict: 'drop', drops: [reason, unheard] } : { verdict: 'redirect', drops: [reason] };
  }
  const { verdict, packet, tunnel, mark = 0 } = outcome;
  return { verdict, drops: [], packet: expected(packet), tunnel, mark };
}
