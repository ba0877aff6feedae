// SPDX-License-Identifier: Apache-2.0
/** ICMP errors about connections of clients outside of the node to services, in both directions. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { Bench, families } from './harness.ts';
import { dissect, errors, icmpError, ip, type Transport, tcp, tcpFlags, udp } from './packet.ts';
import { clearServices, frontendFlags, type Proto, putBackend, putFrontend, putSet } from './services.ts';

const { syn, ack } = tcpFlags;
const nodePort = 30080;

const bench = new Bench('svc-errors', { config: { traceAggregation: 1 } });
afterAll(() => bench.close());
beforeEach(() => {
  clearServices(bench);
  for (const pod of ['a', 'b'] as const) bench.endpoint(pod);
});

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
    describe('ICMP errors', () => {
      test('of a client’s router about a reply of a backend here: reaches the pod as about its own packet', () => {
        serve('tcp', [f.b]);
        come(f.node, tcp(5000, nodePort, syn));
        const { data } = answer(tcp(8080, 5000, syn | ack));
        const error = come(f.node, icmpError('tooBig', data), f.router);
        expect([error.verdict, error.packet]).toMatchObject([
          'redirect',
          { from: f.router, to: f.b, checksums: 'ok', inner: { from: f.b, to: f.world, sport: 8080, dport: 5000 } },
        ]);
      });

      test('of a client’s router about a reply of a backend elsewhere: goes there, about a packet to the node', () => {
        serve('tcp', [f.remote]);
        const there = come(f.node, tcp(40000, nodePort, syn));
        const { data } = come(f.node, tcp(8080, 40000, syn | ack), f.remote);
        const error = come(f.node, icmpError('tooBig', data), f.router);
        expect(there.packet.from).toBe(f.node);
        expect([error.verdict, error.packet]).toMatchObject([
          'redirect',
          {
            from: f.node,
            to: f.remote,
            checksums: 'ok',
            inner: { from: f.remote, to: f.node, sport: 8080, dport: 40000 },
          },
        ]);
      });

      test('about a packet to a backend elsewhere: goes to the client, about a packet to the node port', () => {
        serve('udp', [f.remote]);
        const { data } = come(f.node, udp(5000, nodePort));
        for (const from of [f.router, f.remote]) {
          const error = come(f.node, icmpError('portUnreachable', data), from);
          expect([error.verdict, error.packet]).toMatchObject([
            'redirect',
            {
              from: from === f.remote ? f.node : f.router,
              to: f.world,
              checksums: 'ok',
              inner: { from: f.world, to: f.node, sport: 5000, dport: nodePort },
            },
          ]);
        }
      });

      test('of a backend here: goes to the client from the node port’s address', () => {
        serve('udp', [f.b]);
        const { data } = come(f.node, udp(5000, nodePort));
        const error = answer(icmpError('portUnreachable', data));
        expect([error.verdict, error.packet]).toMatchObject([
          'redirect',
          {
            from: f.node,
            to: f.world,
            checksums: 'ok',
            inner: { from: f.world, to: f.node, sport: 5000, dport: nodePort },
          },
        ]);
      });

      test('about a pod’s packets to itself through a service: reach it, from either side, as about what it sent', () => {
        const cluster = f.vip;
        putBackend(bench, { id: 100, addr: f.a, port: 8080 }, 'udp');
        putSet(bench, 1, [100]);
        putFrontend(bench, { addr: cluster, port: 80, proto: 'udp' });
        const send = (to: string, transport: Transport) => {
          const { verdict, data } = bench.run('from_endpoint', 'lxca', ip({ from: f.a, to }, transport));
          return { verdict, data, packet: dissect(data) };
        };
        const there = send(cluster, udp(5000, 80));
        const loopback = there.packet.from;
        expect(there.packet).toMatchObject({ to: f.a, sport: 5000, dport: 8080 });
        const back = send(loopback, udp(8080, 5000));
        expect(back.packet).toMatchObject({ from: cluster, to: f.a, sport: 80, dport: 5000 });

        const ofBackend = send(loopback, icmpError('portUnreachable', there.data));
        expect([ofBackend.verdict, ofBackend.packet]).toMatchObject([
          'redirect',
          {
            from: cluster,
            to: f.a,
            checksums: 'ok',
            inner: { from: f.a, to: cluster, sport: 5000, dport: 80 },
          },
        ]);
        const ofClient = send(cluster, icmpError('portUnreachable', back.data));
        expect([ofClient.verdict, ofClient.packet]).toMatchObject([
          'redirect',
          {
            from: loopback,
            to: f.a,
            checksums: 'ok',
            inner: { from: f.a, to: loopback, sport: 8080, dport: 5000 },
          },
        ]);
      });

      test('about nothing of ours passes to the node, for every kind', () => {
        serve('udp', [f.remote]);
        for (const kind of Object.keys(errors) as (keyof typeof errors)[]) {
          const packet = ip(
            { from: f.router, to: f.node },
            icmpError(kind, ip({ from: f.node, to: f.world }, udp(9, 9))),
          );
          const { verdict, data } = bench.run('from_netdev', 'eth0', packet);
          expect([verdict, data.equals(packet)]).toEqual(['pass', true]);
        }
      });
    });
  });
}
