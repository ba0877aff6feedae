// SPDX-License-Identifier: Apache-2.0
/** Masquerading: out under the address of the node, back to the pod, every checksum right. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { Bench, families, identities } from './harness.ts';
import { dissect, echo, ip, raw, sctp, type Transport, tcp, tcpFlags, udp } from './packet.ts';

const { syn, ack } = tcpFlags;
const port = { min: 32768, max: 65535 };

const bench = new Bench('nat');
afterAll(() => bench.close());
beforeEach(() => bench.clear('conntrack', 'nat', 'fragments'));

const inRange = expect.toSatisfy((value: number) => value >= port.min && value <= port.max);
const transports: readonly (readonly [string, (sport: number, dport: number) => Transport])[] = [
  ['UDP', (sport, dport) => udp(sport, dport, Buffer.from('odd length!'))],
  ['UDP without a checksum', (sport, dport) => udp(sport, dport, Buffer.from('hello'), { noChecksum: true })],
  ['TCP', (sport, dport) => tcp(sport, dport, syn, Buffer.from('data'))],
];

for (const f of families) {
  const out = (from: string, to: string, transport: Transport) => {
    const outcome = bench.run('to_netdev', 'eth0', ip({ from, to }, transport));
    return { ...outcome, packet: dissect(outcome.data) };
  };
  const back = (from: string, transport: Transport) => {
    const outcome = bench.run('from_netdev', 'eth0', ip({ from, to: f.node }, transport));
    return { ...outcome, packet: dissect(outcome.data) };
  };

  describe(f.name, () => {
    for (const [what, transport] of transports) {
      if (f.v6 && what.includes('without')) continue;
      test(`${what}: a source port of the range is kept, the reply finds the pod`, () => {
        const there = out(f.a, f.world, transport(40000, 53));
        expect(there.verdict).toBe('pass');
        expect(there.packet).toMatchObject({
          from: f.node,
          to: f.world,
          sport: 40000,
          dport: 53,
          ttl: 64,
          checksums: 'ok',
        });
        const reply = back(f.world, transport(53, 40000));
        expect(reply.verdict).toBe('redirect');
        expect(reply.packet).toMatchObject({
          from: f.world,
          to: f.a,
          sport: 53,
          dport: 40000,
          ttl: 63,
          checksums: 'ok',
        });
        expect(bench.entries('nat')).toHaveLength(2);
      });

      test(`${what}: a source port below the range gets one of the range, the same for every packet`, () => {
        const first = out(f.a, f.world, transport(4000, 53)).packet;
        expect(first).toMatchObject({ from: f.node, sport: inRange, dport: 53, checksums: 'ok' });
        expect(out(f.a, f.world, transport(4000, 53)).packet.sport).toBe(first.sport);
        expect(back(f.world, transport(53, first.sport!)).packet).toMatchObject({
          to: f.a,
          dport: 4000,
          checksums: 'ok',
        });
      });
    }

    test('an echo: its id is translated as a port is', () => {
      const first = out(f.a, f.world, echo('request', 7)).packet;
      expect(first).toMatchObject({ from: f.node, echoId: inRange, checksums: 'ok' });
      const reply = back(f.world, echo('reply', first.echoId!));
      expect([reply.verdict, reply.packet]).toMatchObject(['redirect', { to: f.a, echoId: 7, checksums: 'ok' }]);
      expect(bench.entries('nat').map(({ key }) => key)).toContainEqual(
        expect.objectContaining({ saddr: f.a, sport: 7, dport: 0 }),
      );
    });

    test('two pods with one port towards one remote end get different ports, towards different ends the same', () => {
      const ports = [
        out(f.a, f.world, udp(40000, 53)),
        out(f.b, f.world, udp(40000, 53)),
        out(f.b, f.native.replace('51', '52'), udp(40000, 53)),
      ];
      expect(ports[0]?.packet.sport).toBe(40000);
      expect(ports[1]?.packet.sport).not.toBe(40000);
      expect(ports[1]?.packet).toMatchObject({ sport: inRange, checksums: 'ok' });
      expect(ports[2]?.packet.sport).toBe(40000);
      expect(back(f.world, udp(53, 40000)).packet.to).toBe(f.a);
      expect(back(f.world, udp(53, ports[1]?.packet.sport ?? 0)).packet).toMatchObject({
        to: f.b,
        dport: 40000,
        checksums: 'ok',
      });
    });

    test("the node's own flow on a port that a pod has gets another port", () => {
      out(f.a, f.world, udp(40000, 53));
      const own = out(f.node, f.world, udp(40000, 53)).packet;
      expect(own).toMatchObject({ from: f.node, sport: inRange, checksums: 'ok' });
      expect(own.sport).not.toBe(40000);
      const reply = back(f.world, udp(53, own.sport!));
      expect([reply.verdict, reply.packet]).toMatchObject(['pass', { to: f.node, dport: 40000, checksums: 'ok' }]);
    });

    test("a pod's flow on a port that the node has gets another port", () => {
      expect(out(f.node, f.world, tcp(40000, 80, syn)).packet.sport).toBe(40000);
      expect(out(f.a, f.world, tcp(40000, 80, syn)).packet.sport).not.toBe(40000);
      expect(back(f.world, tcp(80, 40000, syn | ack))).toMatchObject({
        verdict: 'pass',
        packet: { to: f.node, dport: 40000 },
      });
    });

    test("the node's own flows from ports below the range are not tracked", () => {
      expect(out(f.node, f.world, udp(123, 123)).packet).toMatchObject({ sport: 123, checksums: 'ok' });
      expect(bench.entries('nat')).toEqual([]);
    });

    for (const [what, to] of [
      ['a pod of another node', f.remote],
      ['another node', f.node2],
      ['a native-routing destination', f.native],
    ] as const)
      test(`to ${what}: not masqueraded`, () => {
        const packet = ip({ from: f.a, to }, udp(40000, 53));
        const { verdict, data } = bench.run('to_netdev', 'eth0', packet);
        expect([verdict, data.equals(packet), bench.entries('nat')]).toEqual(['pass', true, []]);
      });

    test('to a CIDR identity: masqueraded', () => {
      bench.ipcache(`${f.world}/${f.bits}`, (1 << 24) | 5);
      expect(out(f.a, f.world, udp(40000, 53)).packet.from).toBe(f.node);
      bench.ipcache(`${f.world}/${f.bits}`, f.worldIdentity);
    });

    test('a reply to a connection that came in is not masqueraded', () => {
      expect(bench.run('from_netdev', 'eth0', ip({ from: f.world, to: f.a }, tcp(5000, 80, syn))).verdict).toBe(
        'redirect',
      );
      expect(out(f.a, f.world, tcp(80, 5000, syn | ack)).packet).toMatchObject({
        from: f.a,
        sport: 80,
        checksums: 'ok',
      });
    });

    test('SCTP keeps its port, and is dropped if that is taken', () => {
      expect(out(f.a, f.world, sctp(2905, 80, 1)).packet).toMatchObject({ from: f.node, sport: 2905 });
      expect(back(f.world, sctp(80, 2905, 2)).packet.to).toBe(f.a);
      expect(out(f.b, f.world, sctp(2905, 80, 1)).drops).toEqual(['UNSUPPORTED_PROTOCOL_FOR_NAT_MASQUERADE']);
    });

    test('a protocol that cannot be masqueraded is dropped', () => {
      expect(out(f.a, f.world, raw(47, Buffer.alloc(16))).drops).toEqual(['UNSUPPORTED_PROTOCOL_FOR_NAT_MASQUERADE']);
    });

    test('an unknown port of the node from the world is for the node', () => {
      expect(back(f.world, udp(53, 45000))).toMatchObject({ verdict: 'pass', packet: { to: f.node, dport: 45000 } });
    });

    test('a reply from another end than the one that was asked is for the node', () => {
      out(f.a, f.world, udp(40000, 53));
      expect(back(f.world, udp(54, 40000)).verdict).toBe('pass');
      expect(back(f.remote, udp(53, 40000)).verdict).toBe('pass');
    });

    test('a claim that was evicted is made anew by the next outgoing packet', () => {
      out(f.a, f.world, udp(40000, 53));
      const now = Math.max(...bench.entries('nat').map(({ value }) => value.created as number));
      const claim = bench.entries('nat').find(({ key }) => key.direction === 0);
      bench.object.map('nat').delete(
        bench.object
          .map('nat')
          .keys()
          .find((key) => key[37] === 0) ?? Buffer.alloc(0),
      );
      expect(bench.entries('nat')).toHaveLength(1);
      expect(out(f.a, f.world, udp(40000, 53)).packet.sport).toBe(40000);
      expect(bench.entries('nat')).toHaveLength(1);
      bench.patch('nat', { verified: now - 10 });
      expect(out(f.a, f.world, udp(40000, 53)).packet.sport).toBe(40000);
      expect(bench.entries('nat')).toContainEqual({
        key: claim?.key,
        value: expect.objectContaining({ addr: f.a, port: 40000 }),
      });
    });

    test('a claim that somebody else has made meanwhile is given up for another port', () => {
      out(f.a, f.world, udp(40000, 53));
      for (const { key, value } of bench.entries('nat')) {
        bench.put(
          'nat',
          key,
          key.direction === 0 ? { ...value, addr: f.b } : { ...value, verified: (value.verified as number) - 10 },
        );
      }
      const moved = out(f.a, f.world, udp(40000, 53)).packet;
      expect(moved).toMatchObject({ from: f.node, sport: inRange, checksums: 'ok' });
      expect(moved.sport).not.toBe(40000);
    });

    test('a mapping to an address that the node no longer has is replaced', () => {
      out(f.a, f.world, udp(40000, 53));
      for (const { key, value } of bench.entries('nat'))
        if (key.direction === 1) bench.put('nat', key, { ...value, addr: f.stranger });
      expect(out(f.a, f.world, udp(40000, 53)).packet).toMatchObject({ from: f.node, checksums: 'ok' });
    });

    test('the trace tells the source before translation', () => {
      const { events } = out(f.a, f.world, udp(4000, 53));
      expect(events).toMatchObject([
        {
          type: 2,
          subtype: 11,
          origAddr: f.a,
          origPort: 4000,
          endpointId: 1,
          srcIdentity: identities.a,
          dstIdentity: f.worldIdentity,
        },
      ]);
    });
  });
}

describe('a range of few ports', () => {
  const narrow = new Bench('nat-narrow', { config: { natPortMin: 50000, natPortMax: 50001 } });
  afterAll(() => narrow.close());
  for (const f of families)
    test(`${f.name}: when none is free the packet is dropped and counted; other remote ends are not affected`, () => {
      const out = (sport: number, dport: number) =>
        narrow.run('to_netdev', 'eth0', ip({ from: f.a, to: f.world }, udp(sport, dport)));
      const before = narrow.metric(167, 'egress').packets;
      const ports = [out(1, 53), out(2, 53)].map(({ data }) => dissect(data).sport);
      expect(ports.sort()).toEqual([50000, 50001]);
      expect(out(3, 53).drops).toEqual(['NO_MAPPING_FOR_NAT_MASQUERADE']);
      expect(narrow.metric(167, 'egress').packets - before).toBe(1);
      expect(out(3, 54).verdict).toBe('pass');
    });
});

describe('masquerading off, or no address to do it with', () => {
  const off = new Bench('nat-off', { config: { masqueradeIpv4: 0, masqueradeIpv6: 0 } });
  afterAll(() => off.close());
  for (const f of families) {
    test(`${f.name}: off, packets pass as they are`, () => {
      const packet = ip({ from: f.a, to: f.world }, udp(4000, 53));
      expect(off.run('to_netdev', 'eth0', packet).data.equals(packet)).toBe(true);
    });

    test(`${f.name}: without an address of the device the packet is dropped`, () => {
      const row = { ipv4: families[0].node, ipv6: families[1].node, mac: '02:00:00:00:0e:01', flags: 0 };
      bench.put('netdevs', bench.ifindex('eth0'), { ...row, [f.v6 ? 'ipv6' : 'ipv4']: '' });
      const { drops } = bench.run('to_netdev', 'eth0', ip({ from: f.a, to: f.world }, udp(4000, 53)));
      bench.put('netdevs', bench.ifindex('eth0'), row);
      expect(drops).toEqual(['NO_MAPPING_FOR_NAT_MASQUERADE']);
    });
  }
});
