// SPDX-License-Identifier: Apache-2.0
/** Direct server return: the client's node tells the backend's node the frontend, and that one answers the client. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { parseAddress } from '../../datapath/address.ts';
import { Bench, families } from './harness.ts';
import { dissect, ip, type Transport, tcp, tcpFlags, udp } from './packet.ts';
import { clearServices, frontendFlags, type Proto, putBackend, putFrontend, putSet } from './services.ts';

const { syn, ack } = tcpFlags;
const port = { node: 30080, backend: 8080 };
const destinationOptions = 60;

const bench = new Bench('dsr', { config: { dsr: 1 } });
afterAll(() => bench.close());
beforeEach(() => clearServices(bench));

const streams: readonly (readonly [Proto, (sport: number, dport: number) => Transport])[] = [
  ['tcp', (sport, dport) => tcp(sport, dport, syn, Buffer.from('odd'))],
  ['udp', (sport, dport) => udp(sport, dport, Buffer.from('hello'))],
];

for (const f of families) {
  const proto = { tcp: 6, udp: 17, sctp: 132, icmp: 1, icmpv6: 58 } as const;
  const announced = (kind: Proto, addr: string, at: number): Buffer => {
    const portBytes = Buffer.alloc(2);
    portBytes.writeUInt16BE(at);
    return f.v6
      ? Buffer.concat([Buffer.from([proto[kind], 2, 0x1b, 20]), portBytes, Buffer.alloc(2), parseAddress(addr)])
      : Buffer.concat([Buffer.from([0x9a, 8]), portBytes, parseAddress(addr)]);
  };
  const serve = (kind: Proto, addr: string) => {
    putBackend(bench, { id: 100, addr, port: port.backend }, kind);
    putSet(bench, 1, [100]);
    putFrontend(
      bench,
      { addr: f.node, port: port.node, proto: kind },
      { flags: frontendFlags.nodePort | frontendFlags.dsr },
    );
  };
  const come = (transport: Transport) => bench.run('from_netdev', 'eth0', ip({ from: f.world, to: f.node }, transport));
  const forwarded = (kind: Proto, transport: Transport, addr: string = f.node2) =>
    ip(
      {
        from: f.world,
        to: f.b,
        between: announced(kind, addr, port.node),
        ...(f.v6 && { firstExtension: destinationOptions }),
      },
      transport,
    );

  describe(f.name, () => {
    for (const [kind, transport] of streams) {
      test(`${kind}: the first packet goes on under the client’s address, with the frontend in an option`, () => {
        serve(kind, f.remote);
        const { verdict, data, drops } = come(transport(5000, port.node));
        expect([verdict, drops]).toEqual(['redirect', []]);
        const expected = ip(
          {
            from: f.world,
            to: f.remote,
            ttl: 63,
            between: announced(kind, f.node, port.node),
            ...(f.v6 && { firstExtension: destinationOptions }),
          },
          transport(5000, port.backend),
        );
        expect(data.subarray(14).toString('hex')).toBe(expected.subarray(14).toString('hex'));
        expect(bench.entries('nat')).toEqual([]);
      });

      test(`${kind}: the backend’s node takes the option out, and answers in the frontend’s name`, () => {
        const { verdict, data, events } = bench.run(
          'from_netdev',
          'eth0',
          forwarded(kind, transport(5000, port.backend)),
        );
        expect(verdict).toBe('redirect');
        const plain = ip({ from: f.world, to: f.b, ttl: 63 }, transport(5000, port.backend));
        expect(data.subarray(14).toString('hex')).toBe(plain.subarray(14).toString('hex'));
        expect(events.at(-1)).toMatchObject({ origAddr: f.node2, origPort: port.node, origEnd: 2 });
        const reply = bench.run('from_endpoint', 'lxcb', ip({ from: f.b, to: f.world }, transport(port.backend, 5000)));
        expect([reply.verdict, dissect(reply.data)]).toMatchObject([
          'redirect',
          { from: f.node2, to: f.world, sport: port.node, dport: 5000, checksums: 'ok' },
        ]);
        const out = bench.run('to_netdev', 'eth0', reply.data, { mark: 0x300 });
        expect([out.verdict, out.data.equals(reply.data)]).toEqual(['pass', true]);
      });
    }

    test('later packets of a TCP connection carry nothing; every datagram does', () => {
      serve('tcp', f.remote);
      come(tcp(5000, port.node, syn));
      expect(dissect(come(tcp(5000, port.node, ack)).data)).toMatchObject({
        from: f.world,
        to: f.remote,
        dport: port.backend,
        checksums: 'ok',
      });
      serve('udp', f.remote);
      const lengths = [1, 2].map(() => come(udp(5000, port.node)).data.length);
      expect(lengths[0]).toBe(lengths[1]);
      expect(lengths[0]).toBe(ip({ from: f.world, to: f.node }, udp(5000, port.node)).length + (f.v6 ? 24 : 8));
    });

    test('later packets without the option reach the pod, replies still come from the frontend', () => {
      bench.run('from_netdev', 'eth0', forwarded('tcp', tcp(5000, port.backend, syn)));
      expect(
        bench.run('from_netdev', 'eth0', ip({ from: f.world, to: f.b }, tcp(5000, port.backend, ack))).verdict,
      ).toBe('redirect');
      const reply = bench.run('from_endpoint', 'lxcb', ip({ from: f.b, to: f.world }, tcp(port.backend, 5000, ack)));
      expect(dissect(reply.data)).toMatchObject({ from: f.node2, sport: port.node, checksums: 'ok' });
    });

    test('a backend of this node is reached as without DSR', () => {
      serve('tcp', f.b);
      const { data } = come(tcp(5000, port.node, syn));
      expect(dissect(data)).toMatchObject({ from: f.world, to: f.b, dport: port.backend, checksums: 'ok' });
    });

    test('a connection that came directly and lives is not taken over by an option', () => {
      bench.run('from_netdev', 'eth0', ip({ from: f.world, to: f.b }, tcp(5000, port.backend, syn)));
      bench.run('from_endpoint', 'lxcb', ip({ from: f.b, to: f.world }, tcp(port.backend, 5000, syn | ack)));
      const taken = bench.run('from_netdev', 'eth0', forwarded('tcp', tcp(5000, port.backend, ack)));
      expect(taken.verdict).toBe('drop');
    });

    test('other options and headers of this length are left alone', () => {
      const between = announced('tcp', f.node2, port.node);
      between.writeUInt8(f.v6 ? 0x1e : 0x94, f.v6 ? 2 : 0);
      const { data } = bench.run(
        'from_netdev',
        'eth0',
        ip({ from: f.world, to: f.b, between, ...(f.v6 && { firstExtension: 60 }) }, tcp(5000, port.backend, syn)),
      );
      expect(data).toHaveLength(forwarded('tcp', tcp(5000, port.backend, syn)).length);
      expect(bench.entries('service_flows')).toEqual([]);
    });

    test('without DSR configured an option of somebody’s means nothing', () => {
      const off = new Bench('dsr-off');
      try {
        off.run('from_netdev', 'eth0', forwarded('tcp', tcp(5000, port.backend, syn)));
        expect(off.entries('service_flows')).toEqual([]);
      } finally {
        off.close();
      }
    });
  });
}
