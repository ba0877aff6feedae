/** The packet model and the real programs agree on policy: random entries, endpoints, identities and packets of many connections. */
import { afterAll, describe, expect, test } from 'vitest';
import { Bench, type Family, families, type Link, type PolicyEntry } from '../../bpf/test/harness.ts';
import { encode } from '../../datapath/codec.ts';
import type { BpfMap } from '../../native/index.ts';
import { policyEntryKey } from '../../state/tables.ts';
import { seeded } from '../node/clock.ts';
import { ModelTables, type Packet, PacketModel, type Place } from '../packet-model.ts';
import { isIcmp, isIcmpError, protocols, reversed, type Tuple } from './packet.ts';
import { expected, fromBytes, toBytes } from './wire.ts';

const seed = Number(process.env.SEED ?? (process.env.CI ? 1 : Date.now() % 1_000_000));
const scenarios = Number(process.env.SCENARIOS ?? 300);
const PACKETS = 80;

const bench = new Bench('policy-model', { config: { traceAggregation: 2 } });
afterAll(() => {
  for (const map of inner.values()) map.close();
  bench.close();
});

const random = seeded(seed);
const below = (end: number): number => Math.floor(random() * end);
const chance = (share: number): boolean => random() < share;
const pick = <T>(from: readonly T[]): T => from[below(from.length)] as T;

const PODS = ['a', 'b'] as const;
type Pod = (typeof PODS)[number];
const ids = { a: 1, b: 2 };
const links: Record<Pod, Link> = { a: 'lxca', b: 'lxcb' };
/** Pods, another node, the API server outside, CIDRs known here only. */
const strangers = [1003, 1004, 6, 7, 2 ** 24 + 1, 2 ** 24 + 2];
const peers = [0, 0, 0, 0, 0, 1, 9, 10, 1001, 1002, ...strangers];
const ports = [80, 81, 443, 8000, 8005, 8080, 53];
const names: Record<number, string> = { 0: 'ANY', 1: 'ICMP', 6: 'TCP', 17: 'UDP', 58: 'ICMPv6', 132: 'SCTP' };

const keyCodec = bench.codecs.struct('policy_key');
const valueCodec = bench.codecs.struct('policy_entry');
const inner = new Map<Pod, BpfMap>();

function outerKey(pod: Pod): Buffer {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(ids[pod]);
  return key;
}

/** Kept from scenario to scenario: the kernel takes its time to replace one. */
function innerMap(pod: Pod): BpfMap {
  const known = inner.get(pod);
  if (known) return known;
  bench.policy(pod, []);
  const map = bench.object.map('policy').getInner(outerKey(pod));
  if (!map) throw new Error(`pod ${pod} has no policy map`);
  inner.set(pod, map);
  return map;
}

/** The world of one scenario, in the model and on the bench alike. */
class Scenario {
  readonly tables = new ModelTables();
  readonly model = new PacketModel(this.tables);
  readonly #entries: Record<Pod, string[]> = { a: [], b: [] };
  readonly past: { place: Place; packet: Packet }[] = [];
  #revision = 0;

  constructor() {
    bench.clear('conntrack', 'ipcache', 'endpoints');
    this.tables.put({ table: 'bpf.netdevs', key: 'eth0', value: {} });
    for (const f of families) {
      for (const address of [f.gateway, f.node]) this.identity(`${address}/${f.bits}`, 1);
      for (const address of [f.remote, f.node2, f.world])
        if (chance(0.8)) this.identity(`${address}/${f.bits}`, pick(strangers));
      if (chance(0.5)) this.identity(f.v6 ? '2001:db8:99::/48' : '203.0.0.0/8', pick(strangers));
      if (chance(0.3)) this.identity(f.v6 ? '::/0' : '0.0.0.0/0', pick(strangers));
    }
    this.change();
  }

  identity(cidr: string, identity: number): void {
    bench.ipcache(cidr, identity);
    this.tables.put({ table: 'bpf.ipcache', key: cidr, value: { identity } });
  }

  /** Policy changes, and with it the revision at which connections were checked. */
  change(): void {
    this.#revision++;
    for (const pod of PODS) {
      const flags = pick([0, 1, 2, 3, 3, 3, 7]);
      const policyRevision = chance(0.1) ? 0 : this.#revision;
      const identity = pod === 'a' ? 1001 : 1002;
      bench.endpoint(pod, { flags, policyRevision, identity });
      for (const f of families) {
        const value = { link: links[pod], identity, id: ids[pod], flags, policyRevision };
        this.tables.put({ table: 'bpf.endpoints', key: f[pod], value });
        this.identity(`${f[pod]}/${f.bits}`, identity);
      }
      this.#policy(pod, randomEntries(below(12)));
    }
    if (chance(0.05)) this.#withoutMap(pick(PODS));
  }

  #policy(pod: Pod, entries: readonly PolicyEntry[]): void {
    const id = ids[pod];
    for (const key of this.#entries[pod]) this.tables.delete('bpf.policy', key);
    this.tables.put({ table: 'bpf.policy-maps', key: String(id), value: { entriesMax: 16384 } });
    const map = innerMap(pod);
    for (const key of map.keys()) map.delete(key);
    this.#entries[pod] = entries.map((entry) => {
      const { direction, identity = 0, proto = 0, dport = 0, portBits = 0, deny = false, precedence = 1 } = entry;
      const prefixlen = proto ? 8 + portBits : 0;
      map.put(
        encode(keyCodec, {
          prefixlen: 40 + prefixlen,
          identity,
          direction: direction === 'egress' ? 1 : 0,
          proto,
          dport,
        }),
        encode(valueCodec, { precedence, cookie: 1, proxyPort: 0, flags: deny ? 1 : 0, prefixlen }),
      );
      const port = portBits === 0 ? '*' : portBits === 16 ? String(dport) : `${dport}/${portBits}`;
      const key = policyEntryKey(id, direction, identity, names[proto] ?? '', port);
      this.tables.put({ table: 'bpf.policy', key, value: { deny, precedence, cookie: 1, origins: [] } });
      return key;
    });
  }

  #withoutMap(pod: Pod): void {
    bench.object.map('policy').delete(outerKey(pod));
    inner.get(pod)?.close();
    inner.delete(pod);
    this.tables.delete('bpf.policy-maps', String(ids[pod]));
    this.#entries[pod] = [];
  }

  /** Returns what the two say of it. */
  send(place: Place, packet: Packet): { model: unknown; programs: unknown } {
    const outcome = this.model.process(place, packet);
    const real = bench.run(place.program, place.link as Link, toBytes(packet));
    this.past.push({ place, packet });
    const model =
      outcome.verdict === 'drop' || outcome.verdict === 'refuse'
        ? { verdict: 'drop', drops: [outcome.reason] }
        : { verdict: outcome.verdict, drops: [], packet: expected(outcome.packet) };
    const programs =
      real.verdict === 'drop'
        ? { verdict: 'drop', drops: real.drops }
        : { verdict: real.verdict, drops: real.drops, packet: fromBytes(real.data).outer };
    return { model, programs };
  }
}

/** Some with a rival that differs in nothing but the peer and what it says. */
function randomEntries(count: number): PolicyEntry[] {
  return Array.from({ length: count }, randomEntry).flatMap((entry) =>
    chance(0.2) ? [entry, { ...entry, identity: entry.identity ? 0 : pick(peers), deny: chance(0.5) }] : [entry],
  );
}

function randomEntry(): PolicyEntry {
  const proto = pick([0, 6, 6, 6, 17, 17, 132, 1, 58]);
  const dport = proto === 1 ? pick([8, 3, 13]) : proto === 58 ? pick([128, 1, 2]) : pick(ports);
  const portBits = proto === 0 ? 0 : pick([0, 16, 16, 16, 13, 8, 4]);
  const deny = chance(0.3);
  return {
    direction: pick(['ingress', 'egress'] as const),
    identity: pick(peers),
    proto,
    dport: portBits === 0 ? 0 : (dport >> (16 - portBits)) << (16 - portBits),
    portBits,
    deny,
    // Mostly the two of plain policies, sometimes of other tiers.
    precedence: chance(0.8) ? (deny ? 255 : 1) : pick([1, 1, 255, 255, 0, 2, 256, 511, 0xffffff01]),
  };
}

function randomPlace(f: Family): { place: Place; from: string; to: string } {
  const outside = [f.remote, f.node2, f.world, f.native];
  const pod = pick(PODS);
  const link = links[pod];
  switch (below(4)) {
    case 0:
    case 1: {
      const to = pick([f.a, f.b, f.b, ...outside, f.node, f.gateway, f.multicast, f.stranger]);
      const from = chance(0.95) ? f[pod] : pick([f.stranger, f.world, pod === 'a' ? f.b : f.a]);
      return { place: { program: 'from_endpoint', link }, from, to };
    }
    case 2:
      return { place: { program: 'from_netdev', link: 'eth0' }, from: pick(outside), to: pick([f.a, f.b, f.node]) };
    default: {
      const to = chance(0.95) ? f[pod] : f.stranger;
      return { place: { program: 'to_endpoint', link }, from: pick([f.node, f.gateway, f.world, f.remote]), to };
    }
  }
}

function randomPacket(f: Family, from: string, to: string): Packet {
  const proto = pick([6, 6, 6, 17, 17, 132, f.icmp, f.icmp, 47]);
  const ends = { from, to, proto, ttl: chance(0.02) ? 1 : 64 };
  if (proto === f.icmp) {
    const isEcho = chance(0.8);
    const icmpType = isEcho ? (f.v6 ? 128 : 8) : f.v6 ? 139 : 13;
    return { ...ends, sport: isEcho ? pick([7, 9]) : 0, dport: 0, icmpType, icmpCode: 0 };
  }
  const sport = proto === 47 ? 0 : pick([4000, 4001, 80]);
  return { ...ends, sport, dport: proto === 47 ? 0 : pick(ports), tcpFlags: pick([2, 16, 16, 18, 17, 4]) };
}

/** The connection goes on: from the same end, from the other, or somebody on the way says that it cannot. */
function followUp(scenario: Scenario, f: Family): { place: Place; packet: Packet } | undefined {
  const { packet } = scenario.past[below(scenario.past.length)] ?? {};
  if (!packet || packet.from.includes(':') !== f.v6 || isIcmpError(packet)) return undefined;
  const flags =
    packet.proto === protocols.tcp || packet.proto === protocols.sctp ? { tcpFlags: pick([2, 16, 16, 17, 4]) } : {};
  switch (below(4)) {
    case 0:
      return at({ ...packet, ttl: 64, ...flags }, f);
    case 1:
    case 2:
      return at({ ...answerTo(packet), ttl: 64, ...flags }, f);
    default:
      return at(errorAbout(packet, f), f);
  }
}

function answerTo(packet: Packet): Packet {
  const { icmpType, icmpCode, ttl } = packet;
  if (!isIcmp(packet)) return { ...reversed(packet), ttl };
  const answers: Record<number, number> = { 8: 0, 0: 8, 128: 129, 129: 128 };
  return { ...reversed(packet), ttl, icmpType: answers[icmpType ?? 0] ?? icmpType ?? 0, icmpCode: icmpCode ?? 0 };
}

function errorAbout(packet: Packet, f: Family): Packet {
  const { from, to, proto, sport, dport } = packet;
  const inner: Tuple = { from, to, proto, sport, dport };
  const [icmpType = 0, icmpCode = 0] = f.v6
    ? pick([
        [1, 4],
        [2, 0],
        [3, 0],
      ])
    : pick([
        [3, 3],
        [3, 4],
        [11, 0],
      ]);
  const router = chance(0.5) ? to : pick([f.world, f.remote, f.a, f.b]);
  return { from: router, to: from, proto: f.icmp, sport: 0, dport: 0, ttl: 64, icmpType, icmpCode, inner };
}

/** Where a packet between these ends is met first. */
function at(packet: Packet, f: Family): { place: Place; packet: Packet } {
  for (const pod of PODS) {
    if (packet.from === f[pod]) return { place: { program: 'from_endpoint', link: links[pod] }, packet };
  }
  if (packet.from === f.node || packet.from === f.gateway) {
    const link = packet.to === f.b ? 'lxcb' : 'lxca';
    return { place: { program: 'to_endpoint', link }, packet };
  }
  return { place: { program: 'from_netdev', link: 'eth0' }, packet };
}

describe('policy, model against programs', () => {
  const line = `SEED=${seed} SCENARIOS=${scenarios} npx vitest run simulations/packet-model/policy`;
  test(`${scenarios} policies, ${scenarios * PACKETS} packets (again: ${line})`, () => {
    const seen: Record<string, number> = {};
    for (let number = 0; number < scenarios; number++) {
      const scenario = new Scenario();
      for (let i = 0; i < PACKETS; i++) {
        if (chance(0.04)) scenario.change();
        const f = pick(families);
        const next = (chance(0.5) && followUp(scenario, f)) || undefined;
        const { place, from, to } = randomPlace(f);
        const met = next ?? { place, packet: randomPacket(f, from, to) };
        const { model, programs } = scenario.send(met.place, met.packet);
        const what = `scenario ${number}, packet ${i}: ${JSON.stringify(met)}`;
        expect(programs, what).toEqual(model);
        const { verdict, drops } = programs as { verdict: string; drops: string[] };
        const kind = drops[0] ?? verdict;
        seen[kind] = (seen[kind] ?? 0) + 1;
      }
    }
    // What a test never saw it has not tested.
    for (const kind of [
      'pass',
      'redirect',
      'POLICY_DENIED',
      'POLICY_DENY',
      'CT_UNKNOWN_L4_PROTOCOL',
      'INVALID_SOURCE_IP',
    ])
      expect(seen[kind], `${kind} of ${JSON.stringify(seen)}`).toBeGreaterThan(scenarios / 10);
  }, 60_000);
});
