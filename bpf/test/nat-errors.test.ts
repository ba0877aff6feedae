// SPDX-License-Identifier: Apache-2.0
/** ICMP errors about masqueraded flows: translated outside and inside, with four checksums right. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { Bench, families } from './harness.ts';
import { dissect, echo, errors, icmpError, ip, type Transport, tcp, tcpFlags, udp } from './packet.ts';

const bench = new Bench('nat-errors', { config: { traceAggregation: 1 } });
afterAll(() => bench.close());
beforeEach(() => bench.clear('conntrack', 'nat'));

const related = 3;
const kinds = Object.keys(errors) as (keyof typeof errors)[];
const flows: readonly (readonly [string, Transport])[] = [
  ['UDP', udp(4000, 53)],
  ['UDP of a port that is kept', udp(40000, 53)],
  ['TCP', tcp(4000, 80, tcpFlags.syn, Buffer.from('some data'))],
  ['an echo', echo('request', 7)],
];

for (const f of families) {
  /** The pod's packet leaves: known to conntrack, then masqueraded. Returns it as the world sees it. */
  const leave = (transport: Transport): Buffer => {
    const packet = ip({ from: f.a, to: f.world }, transport);
    expect(bench.run('from_endpoint', 'lxca', packet).verdict).toBe('redirect');
    return bench.run('to_netdev', 'eth0', packet).data;
  };
  const inside = (packet: Buffer) => {
    const { from, to, sport, dport, echoId } = dissect(packet);
    return { from, to, ...(sport !== undefined && { sport, dport }), ...(echoId !== undefined && { echoId }) };
  };

  describe(`${f.name}: from the network`, () => {
    for (const kind of kinds)
      for (const [what, transport] of flows)
        for (const [how, carried] of [
          ['the whole packet', 1000],
          ['8 bytes of it', 8],
        ] as const)
          test(`${kind} about ${what}, with ${how}, reaches the pod as it would without masquerading`, () => {
            const sent = leave(transport);
            const { verdict, data, events } = bench.run(
              'from_netdev',
              'eth0',
              ip({ from: f.router, to: f.node }, icmpError(kind, sent, carried)),
            );
            expect(verdict).toBe('redirect');
            expect(events.at(-1)).toMatchObject({ ctState: related, endpointId: 1 });
            expect(dissect(data)).toMatchObject({ from: f.router, to: f.a, checksums: 'ok' });
            expect(dissect(data).inner).toMatchObject(inside(ip({ from: f.a, to: f.world }, transport)));
          });

    test('an error about a flow that nobody has passes to the node as it is', () => {
      const packet = ip(
        { from: f.router, to: f.node },
        icmpError('timeExceeded', ip({ from: f.node, to: f.world }, udp(50000, 53))),
      );
      const { verdict, data } = bench.run('from_netdev', 'eth0', packet);
      expect([verdict, data.equals(packet)]).toEqual(['pass', true]);
    });

    test('an error with a mangled inside passes to the node as it is', () => {
      for (const carried of [0, 4, 7]) {
        const packet = ip({ from: f.router, to: f.node }, icmpError('timeExceeded', leave(udp(4000, 53)), carried));
        const { verdict, data } = bench.run('from_netdev', 'eth0', packet);
        expect([verdict, data.equals(packet)]).toEqual(['pass', true]);
      }
    });
  });

  describe(`${f.name}: to the network`, () => {
    for (const [who, from] of [
      ['the pod', f.a],
      ['the node', f.node],
    ] as const)
      test(`an error of ${who} about a reply tells the world what the world knows`, () => {
        const { sport } = dissect(leave(udp(4000, 53)));
        const reply = ip({ from: f.world, to: f.a }, udp(53, 4000));
        const { verdict, data } = bench.run(
          'to_netdev',
          'eth0',
          ip({ from, to: f.world }, icmpError('portUnreachable', reply)),
        );
        expect(verdict).toBe('pass');
        expect(dissect(data)).toMatchObject({
          from: f.node,
          to: f.world,
          checksums: 'ok',
          inner: { from: f.world, to: f.node, sport: 53, dport: sport },
        });
      });
  });
}
