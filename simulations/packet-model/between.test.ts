/**
 * The packet model and the real programs agree on what goes between nodes: random addresses behind tunnels and keys, identities in keys
 * hostile and not, services with backends elsewhere, and each way to encrypt. What a packet is wrapped with, and its mark, count too.
 */
import { afterAll, describe, expect, test } from 'vitest';
import { type Family, families } from '../../bpf/test/harness.ts';
import { OVERLAY_MTU, OverlayBench } from '../../bpf/test/overlay-bench.ts';
import { ServicesDriver } from '../../datapath/drivers/services.ts';
import type { AnyRow, Packet } from '../packet-model.ts';
import type { BetweenConfig } from './between.ts';
import {
  dice,
  links,
  type Met,
  modes,
  PODS,
  policy,
  protocolNumbers,
  restart,
  Scenario,
  seed,
  vnis,
} from './between-scenario.ts';
import { protocols, reversed } from './packet.ts';
import { frontendPlaces } from './service-scenario.ts';

const scenarios = Number(process.env.SCENARIOS ?? 24);
const PACKETS = 60;
const { chance, pick, below } = dice;

const addressesOf = (f: Family): string[] => [
  f.remote,
  f.v6 ? 'fd00:1::3' : '10.0.1.3',
  f.v6 ? 'fd00:1::99' : '10.0.1.99',
  f.node2,
];

function transport(f: Family): Omit<Packet, 'from' | 'to'> {
  const ttl = chance(0.04) ? 1 : 64;
  const ports = { sport: pick([4000, 4001, 40_000]), dport: pick([53, 80, 8080, 7777, 8472]) };
  const proto = pick([protocols.tcp, protocols.tcp, protocols.udp, protocols.udp, protocols.sctp, f.icmp]);
  if (proto === f.icmp) return { proto, ttl, sport: 7, dport: 0, icmpType: f.v6 ? 128 : 8 };
  if (proto === protocols.udp && chance(0.2))
    return { proto, ttl, ...ports, length: OVERLAY_MTU + pick([-1, 0, 1, 50]) };
  return { proto, ttl, ...ports, ...(proto !== protocols.udp && { tcpFlags: pick([2, 2, 16, 17]) }) };
}

/** Somebody begins: a pod, the stack, another node, the network. */
function randomMet(f: Family, { tunnel }: BetweenConfig): Met {
  const packet = (from: string, to: string): Packet => ({ ...transport(f), from, to });
  const elsewhere = addressesOf(f);
  const place = pick(
    tunnel
      ? (['pod', 'pod', 'overlay', 'overlay', 'host', 'eth0', 'out'] as const)
      : (['pod', 'pod', 'eth0', 'out', 'out'] as const),
  );
  const pod = pick(PODS);
  switch (place) {
    case 'pod':
      return {
        place: { program: 'from_endpoint', link: links[pod] },
        packet: packet(f[pod], pick([...elsewhere, f.world, f.native])),
      };
    case 'overlay':
      return {
        place: {
          program: 'from_overlay',
          link: 'overlay',
          tunnel: { vni: pick(vnis), remote: pick([f.node2, f.router]) },
        },
        packet: packet(pick([...elsewhere, f.world, f.stranger]), pick([f[pod], f[pod], f.gateway, f.stranger])),
      };
    case 'host':
      return {
        place: { program: 'from_host', link: 'chost' },
        packet: packet(pick([f.gateway, f.node, f[pod], f.stranger]), pick([...elsewhere, f.stranger, f.multicast])),
      };
    case 'eth0':
      return { place: { program: 'from_netdev', link: 'eth0' }, packet: packet(pick([...elsewhere, f.world]), f[pod]) };
    case 'out':
      return {
        place: { program: 'to_netdev', link: 'eth0' },
        packet: packet(pick([f[pod], f.node, f.gateway, f.stranger]), pick([...elsewhere, f.native])),
      };
  }
}

function serviceMet(f: Family, { tunnel }: BetweenConfig): Met {
  const { address, port, protocol } = pick(frontendPlaces(f));
  const proto = protocolNumbers[protocol];
  const flags = proto === protocols.udp ? {} : { tcpFlags: pick([2, 2, 2, 2, 16, 17]) };
  const packet = (from: string): Packet => ({
    from,
    to: address,
    proto,
    sport: pick([4000, 4001, 40_000]),
    dport: port,
    ttl: 64,
    ...flags,
  });
  const pod = pick(PODS);
  if (chance(0.4)) return { place: { program: 'from_endpoint', link: links[pod] }, packet: packet(f[pod]) };
  if (tunnel && chance(0.4)) {
    const key = { vni: pick([1003, 70_000, 6, 2]), remote: f.node2 };
    return { place: { program: 'from_overlay', link: 'overlay', tunnel: key }, packet: packet(pick(addressesOf(f))) };
  }
  return { place: { program: 'from_netdev', link: 'eth0' }, packet: packet(pick([f.world, f.native, f.node2])) };
}

/** The other end answers, where the packet went. */
function answer({ past }: Scenario, f: Family, { tunnel }: BetweenConfig): Met | undefined {
  const { met, outcome } = past[below(past.length)] ?? {};
  if (!met || !outcome || outcome.verdict !== 'redirect' || met.place.program === 'to_netdev' || outcome.to === 'stack')
    return undefined;
  const isDatagram = met.packet.proto === protocols.udp;
  const isEcho = met.packet.proto === f.icmp;
  // Nobody answers an answer.
  if (isEcho && met.packet.icmpType !== (f.v6 ? 128 : 8)) return undefined;
  const flags = isEcho ? { icmpType: f.v6 ? 129 : 0 } : isDatagram ? {} : { tcpFlags: pick([18, 16, 17]) };
  const packet: Packet = { ...reversed(outcome.packet), ttl: 64, ...flags };
  const pod = PODS.find((one) => f[one] === packet.from);
  if (pod) return { place: { program: 'from_endpoint', link: links[pod] }, packet };
  if (tunnel && outcome.tunnel)
    return { place: { program: 'from_overlay', link: 'overlay', tunnel: { vni: 1003, remote: f.node2 } }, packet };
  return { place: { program: 'from_netdev', link: 'eth0' }, packet };
}

describe.each(modes)('between nodes, model against programs: $name', ({ name, config, between }) => {
  restart(name);
  const underlay = pick(families);
  const bench = new OverlayBench(`between-${name}`, {
    programs: [
      'from_endpoint',
      'from_netdev',
      'to_netdev',
      ...(between.tunnel ? (['from_overlay', 'from_host'] as const) : []),
    ],
    // Masquerading is not the model's.
    config: { masqueradeIpv4: 0, masqueradeIpv6: 0, ...config },
    underlay,
  });
  afterAll(() => bench.close());
  const driver = new ServicesDriver({
    maps: (map) => bench.object.map(map),
    codecs: bench.codecs,
    onBackendsGone: () => {},
  });
  for (const pod of PODS) bench.policy(pod, policy);

  const line = `SEED=${seed} SCENARIOS=${scenarios} npx vitest run simulations/packet-model/between`;
  test(`${scenarios} nodes, ${scenarios * PACKETS} packets over ${underlay.name} (again: ${line})`, async () => {
    restart(name);
    const seen: Record<string, number> = {};
    const rows = new Map<Family, ReadonlyMap<string, AnyRow>>();
    for (let number = 0; number < scenarios; number++) {
      const f = pick(families);
      const scenario = new Scenario(bench, driver, between, f, rows.get(f) ?? new Map());
      rows.set(f, await scenario.change());
      for (let i = 0; i < PACKETS; i++) {
        const met =
          (chance(0.4) && answer(scenario, f, between)) ||
          (chance(0.4) ? serviceMet(f, between) : randomMet(f, between));
        const { model, programs } = scenario.send(met);
        expect(programs, `scenario ${number}, packet ${i}: ${JSON.stringify(met)}`).toEqual(model);
        const { verdict, drops, tunnel } = programs as { verdict: string; drops: string[]; tunnel?: unknown };
        const kind = drops[0] ?? (tunnel ? 'wrapped' : verdict);
        seen[kind] = (seen[kind] ?? 0) + 1;
      }
    }
    const kinds = between.tunnel
      ? ['wrapped', 'redirect', 'INVALID_IDENTITY', 'POLICY_DENIED']
      : ['redirect', 'UNENCRYPTED_TRAFFIC', 'POLICY_DENIED'];
    for (const kind of kinds) expect(seen[kind], `${kind} of ${JSON.stringify(seen)}`).toBeGreaterThan(scenarios / 4);
  }, 60_000);
});
