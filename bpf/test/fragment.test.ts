// SPDX-License-Identifier: Apache-2.0
/** Fragments: the later ones follow the first. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { Bench, families, flags } from './harness.ts';
import { dissect, ip, udp } from './packet.ts';

const bench = new Bench('fragment');
afterAll(() => bench.close());
beforeEach(() => {
  bench.clear('conntrack', 'fragments', 'policy', 'nat');
  bench.endpoint('a');
  bench.endpoint('b');
});

/** Code in `drop-reasons.tsv`. */
const FRAGMENTED_PACKET = 9;
const payload = Buffer.alloc(32, 0x62);
const fragments = (from: string, to: string, id = 99, port = 4000) => ({
  first: ip({ from, to, fragment: { id, offset: 0, more: true } }, udp(port, 53, payload)),
  middle: ip({ from, to, fragment: { id, offset: 8, more: true } }, udp(port, 53, payload)),
  last: ip({ from, to, fragment: { id, offset: 16, more: false } }, udp(port, 53, payload)),
});

for (const f of families) {
  const send = (packet: Buffer) => bench.run('from_endpoint', 'lxca', packet);

  describe(f.name, () => {
    test('the later fragments belong to the connection of the first', () => {
      const { first, middle, last } = fragments(f.a, f.b);
      expect([first, last, middle].map((packet) => send(packet).verdict)).toEqual(['redirect', 'redirect', 'redirect']);
      expect(bench.entries('conntrack')).toHaveLength(1);
      expect(bench.entries('fragments')).toMatchObject([
        { key: { saddr: f.a, daddr: f.b, proto: 17 }, value: { sport: 4000, dport: 53 } },
      ]);
    });

    test('each is counted', () => {
      const { first, last } = fragments(f.a, f.b);
      const before = bench.metric(FRAGMENTED_PACKET, 'egress');
      for (const packet of [first, last, ip({ from: f.a, to: f.b }, udp(4000, 53))]) send(packet);
      const { packets, bytes } = bench.metric(FRAGMENTED_PACKET, 'egress');
      expect([packets - before.packets, bytes - before.bytes]).toEqual([2, first.length + last.length]);
    });

    test('a later fragment without its first is dropped', () => {
      expect(send(fragments(f.a, f.b).last).drops).toEqual(['FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND']);
    });

    test('fragments of another datagram do not help', () => {
      send(fragments(f.a, f.b, 1).first);
      expect(send(fragments(f.a, f.b, 2).last).verdict).toBe('drop');
    });

    test('a first fragment with a foreign source leaves nothing', () => {
      expect(send(fragments(f.stranger, f.b).first).verdict).toBe('drop');
      expect(bench.entries('fragments')).toEqual([]);
    });

    test('policy of ports applies to later fragments', () => {
      bench.endpoint('b', { flags: flags.enforceIngress, policyRevision: 0 });
      bench.policy('b', [{ direction: 'ingress', proto: 17, dport: 53 }]);
      const { first, last } = fragments(f.a, f.b);
      expect([send(first).verdict, send(last).verdict]).toEqual(['redirect', 'redirect']);
      bench.policy('b', [{ direction: 'ingress', proto: 17, dport: 54 }]);
      expect(send(last).drops).toEqual(['POLICY_DENIED']);
    });

    test('from the network, to a pod: the same', () => {
      const { first, last } = fragments(f.remote, f.a);
      expect(bench.run('from_netdev', 'eth0', last).verdict).toBe('drop');
      expect(bench.run('from_netdev', 'eth0', first).verdict).toBe('redirect');
      expect(bench.run('from_netdev', 'eth0', last).verdict).toBe('redirect');
    });

    test('from the network, to the node: all pass, nothing is kept', () => {
      const { first, last } = fragments(f.world, f.node);
      expect([last, first, last].map((packet) => bench.run('from_netdev', 'eth0', packet).verdict)).toEqual([
        'pass',
        'pass',
        'pass',
      ]);
      expect(bench.entries('fragments')).toEqual([]);
    });

    test('masquerading: every fragment goes out under the address of the node, and comes back to the pod', () => {
      const out = fragments(f.a, f.world, 7, 40000);
      for (const packet of [out.first, out.middle, out.last]) {
        const { verdict, data } = bench.run('to_netdev', 'eth0', packet);
        expect([verdict, dissect(data).from]).toEqual(['pass', f.node]);
        if (packet === out.first) expect(f.v6 ? data.readUInt16BE(62) : data.readUInt16BE(34)).toBe(40000);
      }
      const back = (offset: number, more: boolean) =>
        ip({ from: f.world, to: f.node, fragment: { id: 8, offset, more } }, udp(53, 40000, payload));
      for (const packet of [back(0, true), back(8, true), back(16, false)]) {
        const { verdict, data } = bench.run('from_netdev', 'eth0', packet);
        expect([verdict, dissect(data).to]).toEqual(['redirect', f.a]);
      }
    });
  });
}

test('an IPv6 packet that is a fragment in name only is a whole packet', () => {
  const [, v6] = families;
  const packet = ip({ from: v6.a, to: v6.b, fragment: { id: 1, offset: 0, more: false } }, udp(4000, 53));
  expect(bench.run('from_endpoint', 'lxca', packet).verdict).toBe('redirect');
  expect(bench.entries('fragments')).toEqual([]);
});
