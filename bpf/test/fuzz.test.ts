// SPDX-License-Identifier: Apache-2.0
/** Broken packets: whatever comes, the verdict is pass, drop or redirect, a drop has a reason, and what leaves for the world is whole. */
import { afterAll, expect, test } from 'vitest';
import { Bench, families, type Link, type Program } from './harness.ts';
import { arp, echo, icmp, icmpError, ip, neighborBody, sctp, tcp, tcpFlags, udp } from './packet.ts';

const seed = Number(process.env.SEED ?? (process.env.CI ? 1 : Date.now() % 1_000_000));
const rounds = Number(process.env.ROUNDS ?? 20_000);
const hooks: readonly (readonly [Program, Link])[] = [
  ['from_endpoint', 'lxca'],
  ['to_endpoint', 'lxca'],
  ['from_netdev', 'eth0'],
  ['to_netdev', 'eth0'],
];

const bench = new Bench('fuzz', { config: { traceAggregation: 0 } });
afterAll(() => bench.close());

/** mulberry32 */
function generator(start: number): (below: number) => number {
  let state = start;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

function samples(): Buffer[] {
  return families.flatMap((f) => {
    const transports = [
      udp(40000, 53),
      tcp(40000, 80, tcpFlags.syn),
      sctp(40000, 80, 1),
      echo('request', 40000),
      icmp({ v4: 13, v6: 135 }, 0, neighborBody(families[1].gateway)),
    ];
    const pairs = [
      [f.a, f.b],
      [f.a, f.world],
      [f.world, f.node],
      [f.world, f.a],
      [f.node, f.a],
      [f.node, f.world],
      [f.a, f.gateway],
    ] as const;
    const plain = pairs.flatMap(([from, to]) => transports.map((transport) => ip({ from, to }, transport)));
    const failing = pairs.map(([from, to]) =>
      ip({ from, to }, icmpError('tooBig', ip({ from: to, to: from }, udp(53, 40000)))),
    );
    const pieces = pairs.map(([from, to]) =>
      ip({ from, to, fragment: { id: 5, offset: 8, more: true } }, udp(40000, 53, Buffer.alloc(40))),
    );
    return [
      ...plain,
      ...failing,
      ...pieces,
      arp('request', { mac: '02:00:00:00:0a:01', ip: families[0].a }, { ip: families[0].gateway }),
    ];
  });
}

test(`${rounds} mangled packets (again: SEED=${seed} ROUNDS=${rounds} npx vitest run bpf/test/fuzz)`, () => {
  const pick = generator(seed);
  const packets = samples();
  const seen = { pass: 0, drop: 0, redirect: 0 };
  for (let round = 0; round < rounds; round++) {
    const original = packets[pick(packets.length)] ?? Buffer.alloc(0);
    // The kernel itself refuses test runs below Ethernet and network header.
    const least = original.readUInt16BE(12) === 0x86dd ? 54 : 34;
    const packet = Buffer.from(
      original.subarray(0, pick(3) === 0 ? least + pick(Math.max(1, original.length - least)) : original.length),
    );
    for (let changes = pick(4); changes > 0; changes--) packet.writeUInt8(pick(256), 14 + pick(packet.length - 14));
    const [program, link] = hooks[pick(hooks.length)] ?? ['from_endpoint', 'lxca'];
    const replay = `round ${round}: ${program} ${packet.toString('hex')}`;
    const { verdict, drops } = bench.run(program, link, packet);
    seen[verdict]++;
    expect(drops.length, replay).toBe(verdict === 'drop' ? 1 : 0);
  }
  expect(Object.values(seen).every((count) => count > rounds / 100)).toBe(true);
});
