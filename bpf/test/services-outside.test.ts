// SPDX-License-Identifier: Apache-2.0
/** Services for clients outside of the node, packet by packet: what comes in through the native device, and what goes back. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { Bench, families, flags } from './harness.ts';
import { dissect, ip, protocols, sctp, type Transport, tcp, tcpFlags, udp } from './packet.ts';
import {
  clearServices,
  frontendFlags,
  type Proto,
  putBackend,
  putFrontend,
  putSet,
  putSourceRange,
} from './services.ts';

const { syn, ack } = tcpFlags;
const sctpInit = 1;
const nodePort = 30080;
/** Skb marks that say: translated, leave it alone. */
const translated = { mark: 0x300 };

const bench = new Bench('outside', { config: { traceAggregation: 1 } });
afterAll(() => bench.close());
beforeEach(() => {
  clearServices(bench);
  for (const pod of ['a', 'b'] as const) bench.endpoint(pod);
});

const streams: readonly (readonly [Proto, number, (sport: number, dport: number) => Transport])[] = [
  ['tcp', 8080, (sport, dport) => tcp(sport, dport, syn, Buffer.from('odd'))],
  ['udp', 8080, (sport, dport) => udp(sport, dport, Buffer.from('hello'))],
  ['sctp', nodePort, (sport, dport) => sctp(sport, dport, sctpInit)],
];

for (const f of families) {
  const come = (to: string, transport: Transport, from: string = f.world, on: Bench = bench) => {
    const outcome = on.run('from_netdev', 'eth0', ip({ from, to }, transport));
    return { ...outcome, packet: dissect(outcome.data) };
  };
  const answer = (transport: Transport, to: string = f.world) => {
    const outcome = bench.run('from_endpoint', 'lxcb', ip({ from: f.b, to }, transport));
    return { ...outcome, packet: dissect(outcome.data) };
  };
  const serve = (
    proto: Proto,
    addrs: readonly string[],
    options: { port?: number; flags?: number; on?: Bench } = {},
  ) => {
    const { port = 8080, flags: frontend = frontendFlags.nodePort, on = bench } = options;
    addrs.forEach((addr, index) => {
      putBackend(on, { id: 100 + index, addr, port }, proto);
    });
    putSet(
      on,
      1,
      addrs.map((_, index) => 100 + index),
    );
    putFrontend(on, { addr: f.node, port: nodePort, proto }, { flags: frontend });
  };

  describe(f.name, () => {
    for (const [proto, port, transport] of streams) {
      test(`${proto}: to a node port with a backend here: the pod sees the client, the client the node port`, () => {
        serve(proto, [f.b], { port });
        const there = come(f.node, transport(5000, nodePort));
        expect(there.drops).toEqual([]);
        expect([there.verdict, there.packet]).toMatchObject([
          'redirect',
          { from: f.world, to: f.b, sport: 5000, dport: port, ttl: 63, checksums: 'ok' },
        ]);
        expect(there.events.at(-1)).toMatchObject({ origAddr: f.node, origPort: nodePort, origEnd: 2, endpointId: 2 });
        const back = answer(transport(port, 5000));
        expect([back.verdict, back.packet]).toMatchObject([
          'redirect',
          { from: f.node, to: f.world, sport: nodePort, dport: 5000, ttl: 63, checksums: 'ok' },
        ]);
        const out = bench.run('to_netdev', 'eth0', back.data, translated);
        expect([out.verdict, out.data.equals(back.data)]).toEqual(['pass', true]);
        expect(bench.entries('nat')).toEqual([]);
      });

      test(`${proto}: to a node port with a backend elsewhere: under the node’s address there, under the node port’s back`, () => {
        serve(proto, [f.remote], { port });
        const there = come(f.node, transport(40000, nodePort));
        expect(there.drops).toEqual([]);
        expect([there.verdict, there.packet]).toMatchObject([
          'redirect',
          { from: f.node, to: f.remote, sport: 40000, dport: port, ttl: 63, checksums: 'ok' },
        ]);
        const out = bench.run('to_netdev', 'eth0', there.data, translated);
        expect([out.verdict, out.data.equals(there.data)]).toEqual(['pass', true]);
        const back = come(f.node, transport(port, 40000), f.remote);
        expect(back.drops).toEqual([]);
        expect([back.verdict, back.packet]).toMatchObject([
          'redirect',
          { from: f.node, to: f.world, sport: nodePort, dport: 40000, ttl: 63, checksums: 'ok' },
        ]);
        expect(bench.entries('nat')).toHaveLength(2);
        expect(bench.entries('conntrack')).toHaveLength(1);
      });
    }

    test('a client’s port below the range becomes one of it, the same for every packet, and is itself again in replies', () => {
      serve('tcp', [f.remote]);
      const sport = come(f.node, tcp(5000, nodePort, syn)).packet.sport ?? 0;
      expect(sport).toBeGreaterThanOrEqual(32768);
      expect(come(f.node, tcp(5000, nodePort, ack)).packet.sport).toBe(sport);
      expect(come(f.node, tcp(8080, sport, syn | ack), f.remote).packet).toMatchObject({
        from: f.node,
        to: f.world,
        sport: nodePort,
        dport: 5000,
        checksums: 'ok',
      });
    });

    test('to a load balancer’s address, which no link has', () => {
      putBackend(bench, { id: 100, addr: f.b, port: 8080 }, 'tcp');
      putSet(bench, 1, [100]);
      putFrontend(bench, { addr: f.vip, port: 80, proto: 'tcp' }, { flags: frontendFlags.loadBalancer });
      expect(come(f.vip, tcp(5000, 80, syn)).packet).toMatchObject({ from: f.world, to: f.b, dport: 8080 });
      expect(answer(tcp(8080, 5000, syn | ack)).packet).toMatchObject({ from: f.vip, sport: 80, checksums: 'ok' });
    });

    test('to a process of the node: the stack gets it, its reply comes from the node port', () => {
      serve('tcp', [f.node]);
      const there = come(f.node, tcp(5000, nodePort, syn));
      expect([there.verdict, there.packet]).toMatchObject(['pass', { from: f.world, to: f.node, dport: 8080 }]);
      const reply = bench.run('to_netdev', 'eth0', ip({ from: f.node, to: f.world }, tcp(8080, 5000, syn | ack)));
      expect([reply.verdict, dissect(reply.data)]).toMatchObject([
        'pass',
        { from: f.node, sport: nodePort, checksums: 'ok' },
      ]);
    });

    test('what is for no frontend passes to the node as it is', () => {
      serve('tcp', [f.b]);
      for (const transport of [tcp(5000, 22, syn), tcp(5000, 22, ack), udp(5000, nodePort)]) {
        const packet = ip({ from: f.world, to: f.node }, transport);
        const { verdict, data } = bench.run('from_netdev', 'eth0', packet);
        expect([verdict, data.equals(packet)]).toEqual(['pass', true]);
      }
      expect(bench.entries('conntrack')).toEqual([]);
    });

    test('the pod’s ingress policy sees the client', () => {
      serve('tcp', [f.b]);
      bench.endpoint('b', { flags: flags.enforceIngress });
      bench.policy('b', [{ direction: 'ingress', identity: f.worldIdentity, proto: protocols.tcp, dport: 8080 }]);
      expect(come(f.node, tcp(5000, nodePort, syn)).verdict).toBe('redirect');
      bench.policy('b', []);
      expect(come(f.node, tcp(5001, nodePort, syn))).toMatchObject({ verdict: 'drop', drops: ['POLICY_DENIED'] });
    });

    test('source ranges: who is in one may, who is not is dropped', () => {
      serve('tcp', [f.b], { flags: frontendFlags.loadBalancer | frontendFlags.sourceRanges });
      expect(come(f.node, tcp(5000, nodePort, syn))).toMatchObject({
        verdict: 'drop',
        drops: ['DENIED_BY_LB_SRC_RANGE_CHECK'],
      });
      putSourceRange(bench, 8, f.world, f.bits);
      expect(come(f.node, tcp(5000, nodePort, syn)).verdict).toBe('drop');
      putSourceRange(bench, 7, f.world, f.bits - 8);
      expect(come(f.node, tcp(5000, nodePort, syn)).verdict).toBe('redirect');
      expect(come(f.node, tcp(5000, nodePort, syn), f.native).verdict).toBe('drop');
    });

    test('a ClusterIP is not reachable from outside, unless configured', () => {
      serve('tcp', [f.b], { flags: 0 });
      expect(come(f.node, tcp(5000, nodePort, syn))).toMatchObject({ verdict: 'drop', drops: ['IS_A_CLUSTERIP'] });
      const open = new Bench('outside-clusterip', { config: { serviceExternalClusterIp: 1 } });
      try {
        serve('tcp', [f.b], { flags: 0, on: open });
        expect(come(f.node, tcp(5000, nodePort, syn), f.world, open).packet.to).toBe(f.b);
      } finally {
        open.close();
      }
    });

    test('clients from outside have the external set, pods the internal one', () => {
      serve('tcp', [f.b]);
      putBackend(bench, { id: 200, addr: f.remote, port: 8080 }, 'tcp');
      putSet(bench, 2, [200]);
      putFrontend(bench, { addr: f.node, port: nodePort, proto: 'tcp' }, { flags: 1, internalSet: 2, externalSet: 1 });
      expect(come(f.node, tcp(5000, nodePort, syn)).packet.to).toBe(f.b);
      const inside = bench.run('from_endpoint', 'lxca', ip({ from: f.a, to: f.node }, tcp(4000, nodePort, syn)));
      expect(dissect(inside.data)).toMatchObject({ from: f.a, to: f.remote, dport: 8080, checksums: 'ok' });
    });

    test('a packet that does not fit the way to the backend: the client is told, nothing goes out', () => {
      serve('udp', [f.remote]);
      const there = come(f.node, udp(5000, nodePort, Buffer.alloc(1600)));
      expect([there.verdict, there.drops, there.packet]).toMatchObject([
        'redirect',
        ['CT_MISSING_TCP_ACK_FLAG'],
        { from: f.node, to: f.world, icmpType: f.v6 ? 2 : 3, checksums: 'ok', inner: { to: f.node, dport: nodePort } },
      ]);
      expect(there.data.readUInt16BE(14 + (f.v6 ? 40 : 20) + 6)).toBe(1500);
    });

    test('a hop limit that ends is dropped on the way to a backend elsewhere', () => {
      serve('udp', [f.remote]);
      const { verdict, drops } = bench.run(
        'from_netdev',
        'eth0',
        ip({ from: f.world, to: f.node, ttl: 1 }, udp(5000, nodePort)),
      );
      expect([verdict, drops]).toEqual(['drop', ['TTL_EXCEEDED']]);
    });

    test('fragments: all of a datagram go to one backend, here and elsewhere', () => {
      for (const backend of [f.b, f.remote]) {
        clearServices(bench);
        serve('udp', [backend]);
        const datagram = udp(5000, nodePort, Buffer.alloc(24, 7));
        const part = (offset: number, more: boolean) =>
          bench.run(
            'from_netdev',
            'eth0',
            ip({ from: f.world, to: f.node, fragment: { id: 77, offset, more } }, datagram),
          );
        const source = backend === f.b ? f.world : f.node;
        expect(dissect(part(0, true).data)).toMatchObject({ from: source, to: backend });
        const later = part(8, false);
        expect([later.verdict, dissect(later.data)]).toMatchObject(['redirect', { from: source, to: backend }]);
      }
    });

    test('replies outlive the service', () => {
      serve('tcp', [f.b]);
      come(f.node, tcp(5000, nodePort, syn));
      bench.clear('frontends', 'backend_sets', 'backend_slots', 'backends');
      expect(answer(tcp(8080, 5000, syn | ack)).packet).toMatchObject({ from: f.node, sport: nodePort });
      expect(come(f.node, tcp(5000, nodePort, ack)).packet.to).toBe(f.b);
    });
  });
}
