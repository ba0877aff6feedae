/**
 * The packet model and the real programs agree on services: random frontends, sets and backends, written by the real driver,
 * and packets of many connections, their replies and what goes on after services change.
 */
import { afterAll, describe, expect, test } from 'vitest';
import { Bench, type Family, families, type Link, type PolicyEntry } from '../../bpf/test/harness.ts';
import type { OpResult } from '../../datapath/driver.ts';
import { ServicesDriver } from '../../datapath/drivers/services.ts';
import { policyEntryKey } from '../../state/tables.ts';
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
import { protocols, reversed } from './packet.ts';
import { type Dice, frontendPlaces, opsBetween, randomServices } from './service-scenario.ts';
import { expected, fromBytes, type Seen, toBytes } from './wire.ts';

const seed = Number(process.env.SEED ?? (process.env.CI ? 1 : Date.now() % 1_000_000));
const scenarios = Number(process.env.SCENARIOS ?? 130);
const PACKETS = 80;

const bench = new Bench('service-model', { config: { traceAggregation: 2 } });
afterAll(() => bench.close());
const driver = new ServicesDriver({
  maps: (name) => bench.object.map(name),
  codecs: bench.codecs,
  onBackendsGone: () => {},
});

const random = seeded(seed);
const dice: Dice = {
  below: (end) => Math.floor(random() * end),
  chance: (share) => random() < share,
  pick: (from) => from[Math.floor(random() * from.length)] as (typeof from)[number],
};
const { chance, pick, below } = dice;

const PODS = ['a', 'b'] as const;
const links = { a: 'lxca', b: 'lxcb' } as const;
const ids = { a: 1, b: 2 } as const;
const protocolNumbers = { TCP: protocols.tcp, UDP: protocols.udp, SCTP: protocols.sctp };

/** One policy for both pods, which decides over backends, never over frontends; scenarios differ in who enforces it. */
const policy: readonly PolicyEntry[] = (['ingress', 'egress'] as const).flatMap((direction) => [
  { direction, proto: protocols.tcp, dport: 8080, precedence: 1 },
  { direction, proto: protocols.udp, precedence: 1 },
  { direction, proto: protocols.udp, dport: 5353, identity: 1003, deny: true, precedence: 255 },
  { direction, proto: protocols.sctp, identity: 1001, precedence: 1 },
]);
for (const pod of PODS) bench.policy(pod, policy);
const policyNames: Record<number, string> = { 6: 'TCP', 17: 'UDP', 132: 'SCTP' };

interface Met {
  place: Place;
  packet: Packet;
}

class Scenario {
  readonly tables = new ModelTables();
  readonly #model: PacketModel;
  readonly #family: Family;
  readonly past: { met: Met; outcome: Outcome }[] = [];
  #rows: ReadonlyMap<string, AnyRow>;
  /** What the programs made of the packet that the model is asked about. */
  #real: Seen | undefined;
  /** What they noted of it, when policy kept it from going there. */
  #noted = { to: '', dport: 0 };
  #isDrop = false;

  constructor(f: Family, before: ReadonlyMap<string, AnyRow>) {
    this.#family = f;
    this.#rows = before;
    bench.clear('conntrack', 'service_flows', 'affinity', 'nat');
    this.#model = new PacketModel(
      this.tables,
      usualConfig,
      (among, isDropPossible) => this.#chosen(among, isDropPossible),
      (isFree) => [this.#real?.sport ?? 0].find(isFree),
    );
    this.tables.put({ table: 'bpf.netdevs', key: 'eth0', value: { ipv4: families[0].node, ipv6: families[1].node } });
    const flags = { a: pick([0, 0, 0, 1, 2, 3]), b: pick([0, 0, 0, 1, 2, 3]) };
    for (const pod of PODS) {
      bench.endpoint(pod, { flags: flags[pod], policyRevision: 1 });
      this.tables.put({ table: 'bpf.policy-maps', key: String(ids[pod]), value: {} });
      for (const { direction, identity = 0, proto = 0, dport = 0, deny = false, precedence = 1 } of policy) {
        const port = dport ? String(dport) : '*';
        const key = policyEntryKey(ids[pod], direction, identity, policyNames[proto] ?? '', port);
        this.tables.put({ table: 'bpf.policy', key, value: { deny, precedence, cookie: 1, origins: [] } });
      }
    }
    for (const one of families) {
      for (const pod of PODS) {
        const identity = pod === 'a' ? 1001 : 1002;
        const value = { link: links[pod], identity, id: ids[pod], flags: flags[pod], policyRevision: 1 };
        this.tables.put({ table: 'bpf.endpoints', key: one[pod], value });
        this.#identity(`${one[pod]}/${one.bits}`, identity);
      }
      for (const address of [one.node, one.gateway]) this.#identity(`${address}/${one.bits}`, 1);
      this.#identity(`${one.node2}/${one.bits}`, 6);
      this.#identity(`${one.remote}/${one.bits}`, 1003);
    }
    for (const row of before.values()) this.tables.put(row);
  }

  #identity(cidr: string, identity: number): void {
    this.tables.put({ table: 'bpf.ipcache', key: cidr, value: { identity } });
  }

  /** Services change; the model's tables change as the maps do. */
  async change(): Promise<ReadonlyMap<string, AnyRow>> {
    const after = randomServices(dice, this.#family);
    for (const ops of opsBetween(this.#rows, after)) {
      const results = (await driver.apply(ops)) as OpResult[];
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
    const real = bench.run(met.place.program, met.place.link as Link, toBytes(met.packet));
    const isForwarded = real.verdict !== 'drop' && real.drops.length === 0;
    this.#real = isForwarded ? fromBytes(real.data).outer : undefined;
    this.#noted = notedOf(met.packet);
    this.#isDrop = real.drops.includes('NO_MAPPING_FOR_NAT_MASQUERADE');
    const outcome = this.#model.process(met.place, met.packet);
    this.past.push({ met, outcome });
    const programs = { verdict: real.verdict, drops: real.drops, ...(isForwarded && { packet: this.#real }) };
    return { model: seenOf(met.packet, outcome), programs };
  }
}

/** Where the packet's connection goes, says the map of flows. */
function notedOf({ from, to, proto, sport, dport }: Packet): { to: string; dport: number } {
  const key = { saddr: from, daddr: to, sport, dport, proto, direction: 0 };
  const flow = bench.get('service_flows', key) as { addr: string; port: number } | undefined;
  return { to: flow?.addr ?? '', dport: flow?.port ?? 0 };
}

function seenOf({ tcpFlags = 0, proto }: Packet, outcome: Outcome): unknown {
  if (outcome.verdict === 'drop') return { verdict: 'drop', drops: [outcome.reason] };
  // A reset is never answered.
  if (outcome.verdict === 'refuse')
    return { verdict: proto === protocols.tcp && tcpFlags & 4 ? 'drop' : 'redirect', drops: [outcome.reason] };
  return { verdict: outcome.verdict, drops: [], packet: expected(outcome.packet) };
}

function randomMet(f: Family): Met {
  return chance(0.1) ? directMet(f) : serviceMet(f);
}

/** To where backends are, without a service. */
function directMet(f: Family): Met {
  const pod = pick(PODS);
  const [proto, dport] = pick([
    [protocols.tcp, 80],
    [protocols.tcp, 8080],
    [protocols.udp, 53],
  ] as const);
  const ends = { from: f[pod], to: pick([f.remote, f.a, f.b]), sport: pick([4000, 4001, 4002]), dport };
  return {
    place: { program: 'from_endpoint', link: links[pod] },
    packet: { ...ends, proto, ttl: 64, tcpFlags: pick([2, 16]) },
  };
}

function serviceMet(f: Family): Met {
  const { address, port, protocol } = pick(frontendPlaces(f));
  const proto = protocolNumbers[protocol];
  const flags = proto === protocols.udp ? {} : { tcpFlags: pick([2, 2, 2, 2, 16, 17, 4]) };
  const packet = (from: string): Packet => ({
    from,
    to: address,
    proto,
    sport: pick([4000, 4001, 4002]),
    dport: port,
    ttl: 64,
    ...flags,
  });
  if (chance(0.55)) {
    const pod = pick(PODS);
    return { place: { program: 'from_endpoint', link: links[pod] }, packet: packet(f[pod]) };
  }
  return { place: { program: 'from_netdev', link: 'eth0' }, packet: packet(pick([f.world, f.native, f.node2])) };
}

/** The same connection goes on: from the client, or from where its packets went. */
function followUp({ past }: Scenario, f: Family): Met | undefined {
  const { met, outcome } = past[below(past.length)] ?? {};
  if (!met || !outcome || outcome.verdict === 'drop' || outcome.verdict === 'refuse') return undefined;
  const isDatagram = met.packet.proto === protocols.udp;
  const flags: { tcpFlags?: number } = isDatagram ? {} : { tcpFlags: pick([2, 16, 16, 16, 17, 4]) };
  // Nobody begins a connection of its own from where it answers.
  const again = flags.tcpFlags === 2 && met.packet.tcpFlags !== 2 ? { tcpFlags: 16 } : flags;
  if (chance(0.4)) return { place: met.place, packet: { ...met.packet, ...again } };
  const answer = flags.tcpFlags === 2 ? { tcpFlags: 18 } : flags;
  const packet = { ...reversed(outcome.packet), ttl: 64, ...answer };
  const pod = PODS.find((one) => f[one] === packet.from);
  if (pod) return { place: { program: 'from_endpoint', link: links[pod] }, packet };
  return { place: { program: 'from_netdev', link: 'eth0' }, packet };
}

describe('services, model against programs', () => {
  const line = `SEED=${seed} SCENARIOS=${scenarios} npx vitest run simulations/packet-model/services`;
  test(`${scenarios} nodes, ${scenarios * PACKETS} packets (again: ${line})`, async () => {
    const seen: Record<string, number> = {};
    const rows = new Map<Family, ReadonlyMap<string, AnyRow>>();
    for (let number = 0; number < scenarios; number++) {
      const f = pick(families);
      const scenario = new Scenario(f, rows.get(f) ?? new Map());
      rows.set(f, await scenario.change());
      for (let i = 0; i < PACKETS; i++) {
        if (chance(0.02)) rows.set(f, await scenario.change());
        const met = (chance(0.5) && followUp(scenario, f)) || randomMet(f);
        const { model, programs } = scenario.send(met);
        expect(programs, `scenario ${number}, packet ${i}: ${JSON.stringify(met)}`).toEqual(model);
        const { verdict, drops } = programs as { verdict: string; drops: string[] };
        const kind = drops[0] ?? verdict;
        seen[kind] = (seen[kind] ?? 0) + 1;
      }
    }
    for (const kind of [
      'redirect',
      'SERVICE_BACKEND_NOT_FOUND',
      'IS_A_CLUSTERIP',
      'DENIED_BY_LB_SRC_RANGE_CHECK',
      'POLICY_DENIED',
    ])
      expect(seen[kind], `${kind} of ${JSON.stringify(seen)}`).toBeGreaterThan(scenarios / 10);
  }, 60_000);
});
