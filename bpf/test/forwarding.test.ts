// SPDX-License-Identifier: Apache-2.0
/** Where packets go: to a pod of the node, to the node, to the network, or nowhere. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { Bench, families, macs } from './harness.ts';
import { dissect, echo, extension, ip, raw, sctp, tcp, tcpFlags, udp } from './packet.ts';

const bench = new Bench('forwarding');
afterAll(() => bench.close());
beforeEach(() => bench.clear('conntrack', 'nat'));

for (const f of families) {
  const { a, b } = f;
  describe(f.name, () => {
    for (const [what, transport] of [
      ['UDP', udp(4000, 53)],
      ['TCP', tcp(4000, 80, tcpFlags.syn)],
      ['SCTP', sctp(4000, 80, 1)],
      ['an echo request', echo('request', 7)],
    ] as const)
      test(`pod to pod: ${what} is redirected with the MACs of the far veth and a hop less`, () => {
        const { verdict, data, events } = bench.run(
          'from_endpoint',
          'lxca',
          ip({ from: a, to: b, ttl: 64 }, transport),
        );
        expect(verdict).toBe('redirect');
        expect(dissect(data)).toMatchObject({
          ethDest: macs.b.pod,
          ethSource: macs.b.host,
          from: a,
          to: b,
          ttl: 63,
          checksums: 'ok',
        });
        expect(events).toMatchObject([
          { type: 2, subtype: 0, ifindex: bench.ifindex('lxcb'), endpointId: 1, srcIdentity: 1001, dstIdentity: 1002 },
        ]);
      });

    test('pod to pod: the last hop goes to the stack, which answers', () => {
      const packet = ip({ from: a, to: b, ttl: 1 }, udp(4000, 53));
      const { verdict, data } = bench.run('from_endpoint', 'lxca', packet);
      expect(verdict).toBe('pass');
      expect(data.equals(packet)).toBe(true);
    });

    for (const [what, to] of [
      ['its gateway', f.gateway],
      ['the address of the node', f.node],
    ] as const)
      test(`pod to ${what}: to the stack, as it is`, () => {
        const packet = ip({ from: a, to }, udp(4000, 53));
        const { verdict, data, events } = bench.run('from_endpoint', 'lxca', packet);
        expect([verdict, data.equals(packet)]).toEqual(['pass', true]);
        expect(events).toMatchObject([{ type: 2, subtype: 2, dstIdentity: 1 }]);
      });

    for (const [what, to, identity] of [
      ['the world', f.world, f.worldIdentity],
      ['a pod of another node', f.remote, 1003],
    ] as const)
      test(`pod to ${what}: out of the native device, to the router's MAC`, () => {
        const { verdict, data, events, mark } = bench.run('from_endpoint', 'lxca', ip({ from: a, to }, udp(4000, 53)));
        expect(verdict).toBe('redirect');
        expect(dissect(data)).toMatchObject({
          ethSource: macs.eth0,
          ethDest: macs.router,
          ttl: 63,
          from: a,
          to,
          checksums: 'ok',
        });
        // What is masqueraded is told of where that happens, by the next program that it meets.
        const left = bench.run('to_netdev', 'eth0', data, { mark }).events;
        expect([...events, ...left]).toMatchObject([
          { type: 2, subtype: 11, ifindex: bench.ifindex('eth0'), dstIdentity: identity },
        ]);
      });

    test('pod to the world: a packet that does not fit the device goes to the stack, which says so', () => {
      const { verdict } = bench.run(
        'from_endpoint',
        'lxca',
        ip({ from: a, to: f.world }, udp(4000, 53, Buffer.alloc(1600))),
      );
      expect(verdict).toBe('pass');
    });

    test('pod to the world: a large packet of segments that fit is sent', () => {
      const packet = ip({ from: a, to: f.world }, tcp(4000, 80, tcpFlags.ack, Buffer.alloc(3000)));
      expect(bench.run('from_endpoint', 'lxca', packet, { gsoSize: 1400, gsoSegs: 3 }).verdict).toBe('redirect');
      expect(bench.run('from_endpoint', 'lxca', packet, { gsoSize: 1490, gsoSegs: 3 }).verdict).toBe('pass');
    });

    test('pod to the world: the last hop goes to the stack', () => {
      expect(bench.run('from_endpoint', 'lxca', ip({ from: a, to: f.world, ttl: 1 }, udp(4000, 53))).verdict).toBe(
        'pass',
      );
    });

    for (const [what, from] of [
      ['another pod', f.b],
      ['nobody', f.stranger],
      ['nothing', f.unspecified],
      ['the world', f.world],
    ] as const)
      test(`a source address of ${what} is dropped`, () => {
        const { verdict, drops } = bench.run('from_endpoint', 'lxca', ip({ from, to: b }, udp(4000, 53)));
        expect([verdict, drops]).toEqual(['drop', ['INVALID_SOURCE_IP']]);
      });

    test('multicast is dropped', () => {
      expect(bench.run('from_endpoint', 'lxca', ip({ from: a, to: f.multicast }, udp(5353, 5353))).drops).toEqual([
        'UNKNOWN_L3_TARGET_ADDRESS',
      ]);
    });

    test('a transport protocol that conntrack does not know is dropped', () => {
      expect(bench.run('from_endpoint', 'lxca', ip({ from: a, to: b }, raw(47, Buffer.alloc(24)))).drops).toEqual([
        'CT_UNKNOWN_L4_PROTOCOL',
      ]);
    });

    test('a packet without its transport header is dropped', () => {
      expect(bench.run('from_endpoint', 'lxca', ip({ from: a, to: b }, raw(6, Buffer.alloc(10)))).drops).toEqual([
        'CT_TRUNCATED_OR_INVALID_HEADER',
      ]);
    });

    test('a packet whose header is of another version is dropped', () => {
      const packet = ip({ from: a, to: b }, udp(1, 2));
      packet.writeUInt8(0x55, 14);
      expect(bench.run('from_endpoint', 'lxca', packet).drops).toEqual(['INVALID_PACKET_DROPPED']);
    });

    test('an empty datagram, the shortest there is, is delivered', () => {
      expect(bench.run('from_endpoint', 'lxca', ip({ from: a, to: b }, udp(4000, 53, Buffer.alloc(0)))).verdict).toBe(
        'redirect',
      );
    });

    test('from the network to a pod: redirected into it', () => {
      const { verdict, data, events } = bench.run('from_netdev', 'eth0', ip({ from: f.remote, to: a }, udp(4000, 53)));
      expect(verdict).toBe('redirect');
      expect(dissect(data)).toMatchObject({ ethDest: macs.a.pod, ethSource: macs.a.host, ttl: 63, checksums: 'ok' });
      expect(events).toMatchObject([
        { type: 2, subtype: 0, endpointId: 1, srcIdentity: 1003, dstIdentity: 1001, direction: 0 },
      ]);
    });

    for (const [what, to] of [
      ['the node', f.node],
      ['an address that is not here', f.stranger],
    ] as const)
      test(`from the network to ${what}: passes untouched and unseen`, () => {
        const packet = ip({ from: f.world, to }, tcp(4000, 22, tcpFlags.syn));
        const { verdict, data, events } = bench.run('from_netdev', 'eth0', packet);
        expect([verdict, data.equals(packet), events]).toEqual(['pass', true, []]);
        expect(bench.entries('conntrack')).toEqual([]);
      });

    test('from the node to its pod: passes, as host', () => {
      const { verdict, events } = bench.run(
        'to_endpoint',
        'lxca',
        ip({ from: f.gateway, to: a }, tcp(4000, 80, tcpFlags.syn)),
      );
      expect(verdict).toBe('pass');
      expect(events).toMatchObject([{ type: 2, subtype: 0, srcIdentity: 1, dstIdentity: 1001 }]);
    });

    test('from the node to an address that is not of this pod: dropped', () => {
      expect(bench.run('to_endpoint', 'lxca', ip({ from: f.gateway, to: b }, udp(1, 2))).drops).toEqual([
        'UNKNOWN_L3_TARGET_ADDRESS',
      ]);
    });

    test('a device that is not native passes everything', () => {
      const packet = ip({ from: a, to: f.world }, udp(4000, 53));
      expect(bench.run('to_netdev', 'lxcb', packet).data.equals(packet)).toBe(true);
      expect(bench.run('from_netdev', 'lxcb', ip({ from: f.world, to: a }, udp(4000, 53))).verdict).toBe('pass');
    });
  });
}

describe('headers that are not plain', () => {
  const [v4, v6] = families;
  test('IPv4 options are skipped', () => {
    const packet = ip({ from: v4.a, to: v4.b, between: Buffer.from([1, 1, 1, 0, 1, 1, 1, 0]) }, udp(4000, 53));
    expect(bench.run('from_endpoint', 'lxca', packet).verdict).toBe('redirect');
    expect(bench.entries('conntrack').map(({ key }) => [key.portA, key.portB].sort())).toEqual([[4000, 53]]);
  });

  test('IPv6 extension headers are skipped', () => {
    const packet = ip(
      { from: v6.a, to: v6.b, firstExtension: 0, between: Buffer.concat([extension(60), extension(17)]) },
      udp(4000, 53),
    );
    expect(bench.run('from_endpoint', 'lxca', packet).verdict).toBe('redirect');
    expect(bench.entries('conntrack').map(({ key }) => [key.portA, key.portB, key.proto].sort())).toEqual([
      [17, 4000, 53],
    ]);
  });

  test('a chain of IPv6 extension headers without end is dropped', () => {
    const between = Buffer.concat(Array.from({ length: 12 }, () => extension(60)));
    expect(
      bench.run('from_endpoint', 'lxca', ip({ from: v6.a, to: v6.b, firstExtension: 60, between }, udp(1, 2))).drops,
    ).toEqual(['INVALID_IPV6_EXTENSION_HEADER']);
  });

  test('other network protocols of pods are dropped', () => {
    const packet = (type: number) =>
      Buffer.concat([Buffer.alloc(12), Buffer.from([type >> 8, type & 255]), Buffer.alloc(50)]);
    expect(bench.run('from_endpoint', 'lxca', packet(0x88cc)).drops).toEqual(['UNSUPPORTED_L3_PROTOCOL']);
    expect(bench.run('from_endpoint', 'lxca', packet(0x0026)).verdict).toBe('drop');
    expect(bench.run('from_netdev', 'eth0', packet(0x88cc)).verdict).toBe('pass');
  });
});
