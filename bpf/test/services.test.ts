// SPDX-License-Identifier: Apache-2.0
/** Services for pods, packet by packet: what socket hooks did not translate. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { Bench, families, flags, identities } from './harness.ts';
import { dissect, errors, icmpError, ip, protocols, sctp, type Transport, tcp, tcpFlags, udp } from './packet.ts';
import { clearServices, type Proto, putBackend, putFrontend, putSet, putSourceRange } from './services.ts';

const { syn, ack, fin, rst } = tcpFlags;
const sctpInit = 1;
const now = { new: 0, established: 1, reply: 2, related: 3 };

const bench = new Bench('services', { config: { traceAggregation: 1 } });
afterAll(() => bench.close());
beforeEach(() => {
  clearServices(bench);
  for (const pod of ['a', 'b'] as const) bench.endpoint(pod);
});

const streams: readonly (readonly [Proto, number, (sport: number, dport: number) => Transport])[] = [
  ['tcp', 8080, (sport, dport) => tcp(sport, dport, syn, Buffer.from('odd'))],
  ['udp', 8080, (sport, dport) => udp(sport, dport, Buffer.from('hello'))],
  // The port stays: a CRC covers it.
  ['sctp', 80, (sport, dport) => sctp(sport, dport, sctpInit)],
];

for (const f of families) {
  const send = (from: 'a' | 'b', to: string, transport: Transport, source: string = f[from]) => {
    const outcome = bench.run('from_endpoint', from === 'a' ? 'lxca' : 'lxcb', ip({ from: source, to }, transport));
    return { ...outcome, packet: dissect(outcome.data) };
  };
  const fromNetwork = (from: string, to: string, transport: Transport) => {
    const outcome = bench.run('from_netdev', 'eth0', ip({ from, to }, transport));
    return { ...outcome, packet: dissect(outcome.data) };
  };
  const serve = (proto: Proto, port: number, addrs: readonly string[], backendPort = port) => {
    addrs.forEach((addr, index) => {
      putBackend(bench, { id: 100 + index, addr, port: backendPort }, proto);
    });
    putSet(
      bench,
      1,
      addrs.map((_, index) => 100 + index),
    );
    putFrontend(bench, { addr: f.vip, port, proto });
  };

  describe(f.name, () => {
    for (const [proto, backendPort, transport] of streams) {
      test(`${proto}: a pod reaches a pod of its node through a service, the reply comes from the service`, () => {
        serve(proto, 80, [f.b], backendPort);
        const there = send('a', f.vip, transport(4000, 80));
        expect(there.drops).toEqual([]);
        expect([there.verdict, there.packet]).toMatchObject([
          'redirect',
          { from: f.a, to: f.b, sport: 4000, dport: backendPort, ttl: 63, checksums: 'ok' },
        ]);
        expect(there.events.at(-1)).toMatchObject({ origAddr: f.vip, origPort: 80, origEnd: 2, endpointId: 1 });
        const back = send('b', f.a, transport(backendPort, 4000));
        expect([back.verdict, back.packet]).toMatchObject([
          'redirect',
          { from: f.vip, to: f.a, sport: 80, dport: 4000, ttl: 63, checksums: 'ok' },
        ]);
        expect(back.events.at(-1)).toMatchObject({ origAddr: f.b, origPort: backendPort, origEnd: 1 });
        expect(bench.entries('conntrack')).toHaveLength(1);
        expect(bench.entries('service_flows')).toHaveLength(2);
      });

      test(`${proto}: a pod reaches a pod of another node through a service, and back`, () => {
        serve(proto, 80, [f.remote], backendPort);
        const there = send('a', f.vip, transport(4000, 80));
        expect([there.verdict, there.packet]).toMatchObject([
          'redirect',
          { from: f.a, to: f.remote, sport: 4000, dport: backendPort, checksums: 'ok' },
        ]);
        const back = fromNetwork(f.remote, f.a, transport(backendPort, 4000));
        expect([back.verdict, back.packet]).toMatchObject([
          'redirect',
          { from: f.vip, to: f.a, sport: 80, dport: 4000, checksums: 'ok' },
        ]);
      });
    }

    test('a pod reaches a process of its node through a service; the reply is translated where the stack hands it over', () => {
      serve('tcp', 80, [f.node], 8080);
      const there = send('a', f.vip, tcp(4000, 80, syn));
      expect([there.verdict, there.packet]).toMatchObject(['pass', { to: f.node, dport: 8080, checksums: 'ok' }]);
      const reply = bench.run('to_endpoint', 'lxca', ip({ from: f.node, to: f.a }, tcp(8080, 4000, syn | ack)));
      expect([reply.verdict, dissect(reply.data)]).toMatchObject(['pass', { from: f.vip, sport: 80, checksums: 'ok' }]);
    });

    test('a pod reaches itself through a service, from an address that is nobody’s, whatever policy says', () => {
      serve('tcp', 80, [f.a], 8080);
      bench.endpoint('a', { flags: flags.enforceIngress | flags.enforceEgress });
      const there = send('a', f.vip, tcp(4000, 80, syn));
      expect([there.verdict, there.packet]).toMatchObject([
        'redirect',
        { from: f.loopback, to: f.a, sport: 4000, dport: 8080, checksums: 'ok' },
      ]);
      const back = send('a', f.loopback, tcp(8080, 4000, syn | ack));
      expect(back.drops).toEqual([]);
      expect([back.verdict, back.packet]).toMatchObject([
        'redirect',
        { from: f.vip, to: f.a, sport: 80, dport: 4000, checksums: 'ok' },
      ]);
    });

    test('two pods that reach themselves with one port do not meet', () => {
      serve('tcp', 80, [f.a, f.b]);
      for (const pod of ['a', 'b'] as const) {
        let to = '';
        for (let port = 4000; to !== f[pod]; port++) to = send(pod, f.vip, tcp(port, 80, syn)).packet.to;
      }
      expect(bench.entries('conntrack').length).toBe(bench.entries('service_flows').length / 2);
    });

    test('a connection keeps its backend, new ones are spread over all', () => {
      serve('tcp', 80, [f.b, f.remote]);
      const first = Array.from({ length: 40 }, (_, i) => send('a', f.vip, tcp(4000 + i, 80, syn)).packet.to);
      expect(new Set(first)).toEqual(new Set([f.b, f.remote]));
      const again = first.map((_, i) => send('a', f.vip, tcp(4000 + i, 80, ack)).packet.to);
      expect(again).toEqual(first);
    });

    test('a TCP connection goes on when its backend leaves the set, and when the whole service goes', () => {
      serve('tcp', 80, [f.b]);
      send('a', f.vip, tcp(4000, 80, syn));
      send('b', f.a, tcp(80, 4000, syn | ack));
      putBackend(bench, { id: 200, addr: f.remote, port: 80 }, 'tcp');
      putSet(bench, 1, [200]);
      bench.clear('backends');
      expect(send('a', f.vip, tcp(4000, 80, ack)).packet.to).toBe(f.b);
      bench.clear('frontends', 'backend_sets', 'backend_slots');
      expect(send('a', f.vip, tcp(4000, 80, ack)).packet.to).toBe(f.b);
      expect(send('b', f.a, tcp(80, 4000, ack)).packet).toMatchObject({ from: f.vip, sport: 80, checksums: 'ok' });
    });

    test('a UDP flow keeps its backend while that is there, and chooses anew when it is not', () => {
      serve('udp', 53, [f.b]);
      expect(send('a', f.vip, udp(4000, 53)).packet.to).toBe(f.b);
      putBackend(bench, { id: 200, addr: f.remote, port: 53 }, 'udp');
      putSet(bench, 1, [200]);
      expect(send('a', f.vip, udp(4000, 53)).packet.to).toBe(f.b);
      bench.clear('backends');
      putBackend(bench, { id: 200, addr: f.remote, port: 53 }, 'udp');
      expect(send('a', f.vip, udp(4000, 53)).packet.to).toBe(f.remote);
      expect(fromNetwork(f.remote, f.a, udp(53, 4000)).packet).toMatchObject({ from: f.vip, to: f.a, sport: 53 });
    });

    test('a number that means another backend by now does not keep a UDP flow', () => {
      serve('udp', 53, [f.b]);
      send('a', f.vip, udp(4000, 53));
      putBackend(bench, { id: 100, addr: f.remote, port: 53 }, 'udp');
      expect(send('a', f.vip, udp(4000, 53)).packet.to).toBe(f.remote);
    });

    test('a port that is used again after its connection closed chooses anew', () => {
      serve('tcp', 80, [f.b]);
      send('a', f.vip, tcp(4000, 80, syn));
      send('a', f.vip, tcp(4000, 80, fin | ack));
      putBackend(bench, { id: 200, addr: f.remote, port: 80 }, 'tcp');
      putSet(bench, 1, [200]);
      expect(send('a', f.vip, tcp(4000, 80, syn)).packet.to).toBe(f.remote);
    });

    test('a packet of a stream that nobody remembers chooses a backend, too', () => {
      serve('tcp', 80, [f.b]);
      expect(send('a', f.vip, tcp(4000, 80, ack)).packet.to).toBe(f.b);
    });

    test('policy sees the backend, its port and its identity', () => {
      serve('tcp', 80, [f.b], 8080);
      bench.endpoint('a', { flags: flags.enforceEgress });
      bench.policy('a', [{ direction: 'egress', proto: protocols.tcp, dport: 80 }]);
      expect(send('a', f.vip, tcp(4000, 80, syn))).toMatchObject({ verdict: 'drop', drops: ['POLICY_DENIED'] });
      expect(bench.entries('conntrack')).toEqual([]);
      bench.policy('a', [{ direction: 'egress', identity: identities.b, proto: protocols.tcp, dport: 8080 }]);
      expect(send('a', f.vip, tcp(4000, 80, syn)).verdict).toBe('redirect');
      bench.endpoint('b', { flags: flags.enforceIngress });
      bench.policy('b', []);
      expect(send('a', f.vip, tcp(4001, 80, syn))).toMatchObject({ verdict: 'drop', drops: ['POLICY_DENIED'] });
    });

    test('replies pass the policy of the client', () => {
      serve('udp', 53, [f.b]);
      bench.endpoint('a', { flags: flags.enforceIngress });
      bench.policy('a', []);
      send('a', f.vip, udp(4000, 53));
      expect(send('b', f.a, udp(53, 4000))).toMatchObject({ verdict: 'redirect', packet: { from: f.vip } });
    });

    test('a client that reaches one backend through two services with one port: one of them is dropped, none mixed up', () => {
      serve('tcp', 80, [f.b], 8080);
      putFrontend(bench, { addr: f.vip, port: 81, proto: 'tcp' });
      send('a', f.vip, tcp(4000, 80, syn));
      expect(send('a', f.vip, tcp(4000, 81, syn))).toMatchObject({
        verdict: 'drop',
        drops: ['NO_MAPPING_FOR_NAT_MASQUERADE'],
      });
      expect(send('b', f.a, tcp(8080, 4000, syn | ack)).packet).toMatchObject({ from: f.vip, sport: 80 });
    });

    test('with another backend at hand the second connection goes there', () => {
      serve('tcp', 80, [f.b], 8080);
      send('a', f.vip, tcp(4000, 80, syn));
      putBackend(bench, { id: 101, addr: f.remote, port: 8080 }, 'tcp');
      putSet(bench, 2, [...Array.from({ length: 1 }, () => 101), 101]);
      putFrontend(bench, { addr: f.vip, port: 81, proto: 'tcp' }, { internalSet: 2 });
      expect(send('a', f.vip, tcp(4000, 81, syn)).packet.to).toBe(f.remote);
    });

    test('without its entry for replies a reply is dropped, and the client’s next packet brings it back', () => {
      serve('tcp', 80, [f.b]);
      send('a', f.vip, tcp(4000, 80, syn));
      for (const { key, value } of bench.entries('service_flows')) {
        if (key['direction'] === 0)
          bench.put('service_flows', key, { ...value, verified: Number(value['verified']) - 6 });
        else bench.object.map('service_flows').delete(bench.encodeKey('service_flows', key));
      }
      expect(send('b', f.a, tcp(80, 4000, syn | ack)).drops).toEqual(['NO_MAPPING_FOR_NAT_MASQUERADE']);
      send('a', f.vip, tcp(4000, 80, syn));
      expect(send('b', f.a, tcp(80, 4000, syn | ack)).packet).toMatchObject({
        from: f.vip,
        sport: 80,
        checksums: 'ok',
      });
    });

    test('another port, another protocol of the service’s address is no service', () => {
      serve('tcp', 80, [f.b]);
      for (const transport of [tcp(4000, 81, syn), udp(4000, 80)])
        expect(send('a', f.vip, transport)).toMatchObject({ verdict: 'redirect', packet: { to: f.vip } });
    });

    test('with services off nothing is translated', () => {
      const off = new Bench('services-off', { config: { services: 0 } });
      try {
        putBackend(off, { id: 100, addr: f.b, port: 80 }, 'tcp');
        putSet(off, 1, [100]);
        putFrontend(off, { addr: f.vip, port: 80, proto: 'tcp' });
        const { data } = off.run('from_endpoint', 'lxca', ip({ from: f.a, to: f.vip }, tcp(4000, 80, syn)));
        expect(dissect(data).to).toBe(f.vip);
      } finally {
        off.close();
      }
    });

    test('a connection that began before the service was known, and was never answered, becomes one', () => {
      send('a', f.vip, udp(4000, 53));
      serve('udp', 53, [f.b]);
      expect(send('a', f.vip, udp(4000, 53)).packet.to).toBe(f.b);
    });

    test.each([0, 1, 5, 100, 1_400])(
      'SCTP to a backend with another port, %i bytes carried, has a CRC that is right',
      (bytes) => {
        const value = Buffer.from(Array.from({ length: bytes }, (_, at) => (at * 31) & 255));
        serve('sctp', 80, [f.b], 8080);
        const there = send('a', f.vip, sctp(4000, 80, sctpInit, value));
        expect(there.packet).toMatchObject({ to: f.b, sport: 4000, dport: 8080, checksums: 'ok' });
        const back = send('b', f.a, sctp(8080, 4000, 2, value));
        expect(back.packet).toMatchObject({ from: f.vip, sport: 80, dport: 4000, checksums: 'ok' });
      },
    );

    test('a fragment of SCTP to a backend with another port is dropped: its sum covers the others', () => {
      serve('sctp', 80, [f.b], 8080);
      const packet = ip(
        { from: f.a, to: f.vip, fragment: { id: 7, offset: 0, more: true, bytes: 32 } },
        sctp(4000, 80, sctpInit, Buffer.alloc(64)),
      );
      const { verdict, drops } = bench.run('from_endpoint', 'lxca', packet);
      expect([verdict, drops]).toEqual(['drop', ['UNSUPPORTED_PROTOCOL_FOR_NAT_MASQUERADE']]);
    });

    test('source ranges and types are for clients from outside', () => {
      serve('tcp', 80, [f.b]);
      putFrontend(bench, { addr: f.vip, port: 80, proto: 'tcp' }, { flags: 4 | 32, id: 9 });
      putSourceRange(bench, 8, f.a, f.bits);
      expect(send('a', f.vip, tcp(4000, 80, syn)).verdict).toBe('redirect');
    });

    describe('no backend', () => {
      test('TCP: refused with RST', () => {
        serve('tcp', 80, []);
        const there = send('a', f.vip, tcp(4000, 80, syn));
        expect([there.verdict, there.drops]).toEqual(['redirect', ['SERVICE_BACKEND_NOT_FOUND']]);
        expect(there.packet).toMatchObject({
          from: f.vip,
          to: f.a,
          sport: 80,
          dport: 4000,
          checksums: 'ok',
          ethDest: '02:00:00:00:00:aa',
        });
        const flagsAt = 14 + (f.v6 ? 40 : 20) + 13;
        expect(there.data.readUInt8(flagsAt)).toBe(rst | ack);
        expect(there.data.readUInt32BE(flagsAt - 5)).toBe(1);
        expect(there.data).toHaveLength(14 + (f.v6 ? 40 : 20) + 20);
        expect(bench.entries('service_flows')).toEqual([]);
      });

      test('UDP: refused with port unreachable, which quotes the packet', () => {
        serve('udp', 53, []);
        const there = send('a', f.vip, udp(4000, 53, Buffer.alloc(300, 1)));
        expect([there.verdict, there.drops]).toEqual(['redirect', ['SERVICE_BACKEND_NOT_FOUND']]);
        expect(there.packet).toMatchObject({
          from: f.vip,
          to: f.a,
          icmpType: f.v6 ? 1 : 3,
          checksums: 'ok',
          inner: { from: f.a, to: f.vip, sport: 4000, dport: 53 },
        });
      });

      test('an RST is not answered', () => {
        serve('tcp', 80, []);
        expect(send('a', f.vip, tcp(4000, 80, rst)).verdict).toBe('drop');
      });

      test('slots that lead nowhere count as none', () => {
        serve('tcp', 80, [f.b]);
        bench.clear('backends');
        expect(send('a', f.vip, tcp(4000, 80, syn)).drops).toEqual(['SERVICE_BACKEND_NOT_FOUND']);
      });
    });

    describe('ICMP errors', () => {
      for (const [how, carried] of [
        ['the whole packet', 1000],
        ['8 bytes of it', 8],
      ] as const) {
        test(`of a backend on this node to its client, with ${how}: from the service, about a packet to the service`, () => {
          serve('udp', 53, [f.b], 5353);
          const { data } = send('a', f.vip, udp(4000, 53));
          const error = send('b', f.a, icmpError('portUnreachable', data, carried));
          expect([error.verdict, error.packet]).toMatchObject([
            'redirect',
            { from: f.vip, to: f.a, checksums: 'ok', inner: { from: f.a, to: f.vip, sport: 4000, dport: 53 } },
          ]);
        });

        test(`of a router to a client, with ${how}: the router’s own, about a packet to the service`, () => {
          serve('tcp', 80, [f.remote], 8080);
          const { data } = send('a', f.vip, tcp(4000, 80, syn));
          const error = fromNetwork(f.router, f.a, icmpError('tooBig', data, carried));
          expect([error.verdict, error.packet]).toMatchObject([
            'redirect',
            { from: f.router, to: f.a, checksums: 'ok', inner: { from: f.a, to: f.vip, sport: 4000, dport: 80 } },
          ]);
        });

        test(`of a client about a reply, with ${how}: reaches the backend as about its own packet`, () => {
          serve('udp', 53, [f.b], 5353);
          send('a', f.vip, udp(4000, 53));
          const { data } = send('b', f.a, udp(5353, 4000));
          const error = send('a', f.vip, icmpError('portUnreachable', data, carried));
          expect([error.verdict, error.packet]).toMatchObject([
            'redirect',
            { from: f.a, to: f.b, checksums: 'ok', inner: { from: f.b, to: f.a, sport: 5353, dport: 4000 } },
          ]);
          expect(error.events.at(-1)).toMatchObject({ ctState: now.related });
        });
      }
      test('every kind is translated', () => {
        serve('udp', 53, [f.remote]);
        const { data } = send('a', f.vip, udp(4000, 53));
        for (const kind of Object.keys(errors) as (keyof typeof errors)[])
          expect(fromNetwork(f.router, f.a, icmpError(kind, data)).packet.inner?.to).toBe(f.vip);
      });
    });

    test('fragments of a datagram go where the first went, and replies in fragments come from the service', () => {
      serve('udp', 53, [f.b], 5353);
      const datagram = udp(4000, 53, Buffer.alloc(24, 7));
      const part = (offset: number, more: boolean) =>
        bench.run('from_endpoint', 'lxca', ip({ from: f.a, to: f.vip, fragment: { id: 77, offset, more } }, datagram));
      expect(dissect(part(0, true).data)).toMatchObject({ to: f.b, ...(f.v6 ? {} : { dport: 5353 }) });
      const later = part(8, false);
      expect([later.verdict, dissect(later.data).to]).toEqual(['redirect', f.b]);
      const answer = udp(5353, 4000, Buffer.alloc(24, 8));
      const back = (offset: number, more: boolean) =>
        bench.run('from_endpoint', 'lxcb', ip({ from: f.b, to: f.a, fragment: { id: 78, offset, more } }, answer));
      expect(dissect(back(0, true).data).from).toBe(f.vip);
      expect(dissect(back(8, false).data).from).toBe(f.vip);
    });
  });
}
