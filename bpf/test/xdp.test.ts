// SPDX-License-Identifier: Apache-2.0
/** Services at XDP: settled connections to other nodes are sent on there, byte for byte as from_netdev would; all else is left to it. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { openObject, withNetns } from '../../native/index.ts';
import { Bench, families, mapOptions } from './harness.ts';
import { icmpError, ip, type Transport, tcp, tcpFlags, udp } from './packet.ts';
import { clearServices, frontendFlags, type Proto, putBackend, putFrontend, putSet } from './services.ts';

const { syn, ack, fin } = tcpFlags;
const nodePort = 30080;
const verdicts = new Map([
  [2, 'pass'],
  [3, 'tx'],
  [4, 'redirect'],
]);

const pinFolder = `/sys/fs/bpf/axt-${process.pid}-xdp`;
mkdirSync(pinFolder);
const bench = new Bench('xdp', { pinFolder });
const object = openObject(join(import.meta.dirname, '../build/xdp.o'), {
  maps: mapOptions({ conntrack: 4096, nat: 4096 }, pinFolder),
  rodata: { config: bench.configBytes() },
});
object.load();
afterAll(() => {
  object.close();
  bench.close();
});
beforeEach(() => clearServices(bench));

function xdp(packet: Buffer): { verdict: string; data: Buffer } {
  const ctx = Buffer.alloc(24);
  ctx.writeUInt32LE(packet.length, 4);
  ctx.writeUInt32LE(bench.ifindex('eth0'), 12);
  const { retval, data } = withNetns(bench.netns, () => object.program('xdp_netdev').testRun({ data: packet, ctx }));
  return { verdict: verdicts.get(retval) ?? String(retval), data };
}

const streams: readonly (readonly [Proto, string, (sport: number, dport: number, flags?: number) => Transport])[] = [
  ['tcp', 'TCP', (sport, dport, flags = ack) => tcp(sport, dport, flags, Buffer.from('odd'))],
  ['udp', 'UDP', (sport, dport) => udp(sport, dport, Buffer.from('hello'))],
  ['udp', 'UDP without a checksum', (sport, dport) => udp(sport, dport, Buffer.from('hello'), { noChecksum: true })],
];

for (const f of families) {
  const tc = (packet: Buffer) => bench.run('from_netdev', 'eth0', packet);
  const serve = (proto: Proto, addr: string, flags: number = frontendFlags.nodePort) => {
    putBackend(bench, { id: 100, addr, port: 8080 }, proto);
    putSet(bench, 1, [100]);
    putFrontend(bench, { addr: f.node, port: nodePort, proto }, { flags });
  };
  const there = (transport: Transport, from: string = f.world) => ip({ from, to: f.node }, transport);
  const untouched = (packet: Buffer) => {
    const { verdict, data } = xdp(packet);
    expect([verdict, data.equals(packet)]).toEqual(['pass', true]);
  };

  describe(f.name, () => {
    for (const [proto, what, transport] of streams) {
      if (f.v6 && what.includes('without')) continue;
      test(`${what}: the first packets both ways are from_netdev’s, the rest goes from here, just the same`, () => {
        serve(proto, f.remote);
        untouched(there(transport(40000, nodePort, syn)));
        tc(there(transport(40000, nodePort, syn)));
        const reply = (flags: number) => ip({ from: f.remote, to: f.node }, transport(8080, 40000, flags));
        untouched(reply(syn | ack));
        tc(reply(syn | ack));

        const forward = xdp(there(transport(40000, nodePort)));
        expect(forward.verdict).toBe('tx');
        expect(forward.data.toString('hex')).toBe(tc(there(transport(40000, nodePort))).data.toString('hex'));
        const back = xdp(reply(ack));
        expect(back.verdict).toBe('tx');
        expect(back.data.toString('hex')).toBe(tc(reply(ack)).data.toString('hex'));
      });
    }

    test('expiry moves on as with from_netdev, and packets are counted', () => {
      serve('tcp', f.remote);
      tc(there(tcp(40000, nodePort, syn)));
      const before = Number(bench.entries('conntrack')[0]?.value['expires']);
      const counted = bench.metric(0, 'ingress').packets;
      expect(xdp(there(tcp(40000, nodePort, ack))).verdict).toBe('tx');
      expect(Number(bench.entries('conntrack')[0]?.value['expires'])).toBeGreaterThan(before + 1000);
      expect(bench.metric(0, 'ingress').packets).toBe(counted + 1);
    });

    test('what has to be told or looked at goes up: new TCP flags, a trace interval, entries to verify', () => {
      serve('tcp', f.remote);
      const packet = there(tcp(40000, nodePort, ack));
      tc(there(tcp(40000, nodePort, syn)));
      untouched(there(tcp(40000, nodePort, fin | ack)));
      expect(xdp(packet).verdict).toBe('tx');
      const past = (map: string, field: string, seconds: number) => {
        for (const { key, value } of bench.entries(map))
          bench.put(map, key, { ...value, [field]: Number(value[field]) - seconds });
      };
      past('nat', 'verified', 6);
      untouched(packet);
      tc(packet);
      expect(xdp(packet).verdict).toBe('tx');
      past('service_flows', 'verified', 6);
      untouched(packet);
      tc(packet);
      expect(xdp(packet).verdict).toBe('tx');
      for (const { key, value } of bench.entries('conntrack'))
        bench.put('conntrack', key, { ...value, lastReport: [Number((value['lastReport'] as number[])[0]) - 6, 0] });
      untouched(packet);
    });

    test('a backend of this node is left to from_netdev', () => {
      for (const backend of [f.b, f.node]) {
        clearServices(bench);
        serve('tcp', backend);
        tc(there(tcp(40000, nodePort, syn)));
        untouched(there(tcp(40000, nodePort, ack)));
      }
    });

    test('a UDP flow whose backend went is left to from_netdev, which chooses anew', () => {
      serve('udp', f.remote);
      tc(there(udp(40000, nodePort)));
      expect(xdp(there(udp(40000, nodePort))).verdict).toBe('tx');
      bench.clear('backends');
      untouched(there(udp(40000, nodePort)));
    });

    test('a TCP connection goes on here when its service is gone', () => {
      serve('tcp', f.remote);
      tc(there(tcp(40000, nodePort, syn)));
      bench.clear('frontends', 'backend_sets', 'backend_slots', 'backends');
      expect(xdp(there(tcp(40000, nodePort, ack))).verdict).toBe('tx');
    });

    test('with DSR later packets of a stream go from here under the client’s address', () => {
      serve('tcp', f.remote, frontendFlags.nodePort | frontendFlags.dsr);
      untouched(there(tcp(40000, nodePort, syn)));
      tc(there(tcp(40000, nodePort, syn)));
      const { verdict, data } = xdp(there(tcp(40000, nodePort, ack)));
      expect(verdict).toBe('tx');
      expect(data.toString('hex')).toBe(tc(there(tcp(40000, nodePort, ack))).data.toString('hex'));
    });

    test('fragments, options, ICMP, a hop limit that ends, other traffic of the node: all left alone', () => {
      serve('udp', f.remote);
      tc(there(udp(40000, nodePort)));
      const datagram = udp(40000, nodePort, Buffer.alloc(24));
      const ends = { from: f.world, to: f.node };
      untouched(ip({ ...ends, fragment: { id: 7, offset: 0, more: true } }, datagram));
      untouched(ip({ ...ends, ttl: 1 }, udp(40000, nodePort)));
      untouched(ip(ends, icmpError('timeExceeded', there(udp(40000, nodePort)))));
      untouched(ip(ends, udp(40000, 53)));
      untouched(ip(ends, tcp(40000, 22, ack)));
      if (!f.v6) untouched(ip({ ...ends, between: Buffer.alloc(4, 1) }, udp(40000, nodePort)));
      for (const length of [14, 20, 34, 40]) untouched(there(udp(40000, nodePort)).subarray(0, length));
    });

    test('replies to a masqueraded pod are left to from_netdev', () => {
      const out = bench.run('to_netdev', 'eth0', ip({ from: f.a, to: f.world }, udp(40000, 53)));
      expect(out.verdict).toBe('pass');
      untouched(ip({ from: f.world, to: f.node }, udp(53, 40000)));
    });
  });
}
