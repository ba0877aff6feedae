// SPDX-License-Identifier: Apache-2.0
/** Packets between nodes by tunnel: what they are wrapped with, whose they are when they arrive, and what must not pass. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { families, flags, identities, macs } from './harness.ts';
import { marks, NO_KEY, OVERLAY_MTU, OverlayBench } from './overlay-bench.ts';
import { dissect, echo, errors, icmp, icmpError, ip, neighborBody, sctp, tcp, tcpFlags, udp } from './packet.ts';

const trace = { toStack: 3, toOverlay: 4, toHost: 2, toEndpoint: 0 } as const;

for (const underlay of families)
  describe(`over ${underlay.name}`, () => {
    const bench = new OverlayBench(`overlay-${underlay.name}`, {
      underlay,
      programs: ['from_endpoint', 'from_host', 'from_netdev', 'from_overlay'],
    });
    afterAll(() => bench.close());
    beforeEach(() => {
      bench.clear('conntrack', 'nat', 'fragments');
      bench.endpoint('a');
      bench.host(0);
    });
    const from2 = (vni: number) => ({ vni, remote: underlay.node2 });

    for (const f of families)
      describe(f.name, () => {
        for (const [what, transport] of [
          ['UDP', udp(4000, 53)],
          ['TCP', tcp(4000, 80, tcpFlags.syn)],
          ['SCTP', sctp(4000, 80, 1)],
          ['an echo request', echo('request', 7)],
        ] as const)
          test(`pod to a pod of another node: ${what} is wrapped, with the pod’s identity, a hop less`, () => {
            const outcome = bench.send('from_endpoint', 'lxca', ip({ from: f.a, to: f.remote, ttl: 64 }, transport));
            expect(outcome.tunnel).toEqual({ vni: identities.a, remote: underlay.node2 });
            expect(outcome.mark).toBe((marks.overlay | (identities.a << 16)) >>> 0);
            expect(dissect(outcome.data)).toMatchObject({ from: f.a, to: f.remote, ttl: 63, checksums: 'ok' });
            expect(outcome.events).toMatchObject([
              { type: 2, subtype: trace.toOverlay, ifindex: bench.ifindex('overlay'), dstIdentity: identities.remote },
            ]);
          });

        test('to a pod that is not known yet: to the node of its range', () => {
          const to = f.v6 ? 'fd00:1::77' : '10.0.1.77';
          expect(bench.send('from_endpoint', 'lxca', ip({ from: f.a, to }, udp(4000, 53))).tunnel).toEqual(
            from2(identities.a),
          );
        });

        test('to another node: by tunnel, so that its answer is', () => {
          const packet = ip({ from: f.a, to: f.node2 }, udp(4000, 53));
          expect(bench.send('from_endpoint', 'lxca', packet).tunnel).toEqual(from2(identities.a));
        });

        for (const [what, identity, vni] of [
          ['an identity above 2^16', 70_000, 70_000],
          ['a CIDR that only this node knows', 0x0100_0005, 2],
          ['a node that only this node knows', 0x0200_0005, 2],
          ['world of one family', f.worldIdentity, 2],
          ['the node itself', identities.host, 6],
        ] as const)
          test(`the key of ${what} says ${vni}`, () => {
            bench.endpoint('a', { identity });
            const { tunnel, mark } = bench.send('from_endpoint', 'lxca', ip({ from: f.a, to: f.remote }, udp(1, 2)));
            expect(tunnel?.vni).toBe(vni);
            expect(mark).toBe((marks.overlay | ((vni & 0xffff) << 16) | (vni >> 16)) >>> 0);
          });

        test('egress policy is asked before', () => {
          bench.endpoint('a', { flags: flags.enforceEgress });
          bench.policy('a', []);
          const packet = ip({ from: f.a, to: f.remote }, udp(4000, 53));
          expect(bench.send('from_endpoint', 'lxca', packet)).toMatchObject({
            verdict: 'drop',
            drops: ['POLICY_DENIED'],
          });
        });

        test('the last hop, and what is too long once wrapped, go to the stack as they are', () => {
          const long = udp(4000, 53, Buffer.alloc(OVERLAY_MTU - (f.v6 ? 40 : 20) - 8 + 1));
          for (const packet of [
            ip({ from: f.a, to: f.remote, ttl: 1 }, udp(4000, 53)),
            ip({ from: f.a, to: f.remote }, long),
          ]) {
            const { verdict, data, mark } = bench.send('from_endpoint', 'lxca', packet);
            expect([verdict, data.equals(packet), mark]).toEqual(['pass', true, 0]);
          }
        });

        test('what just fits is wrapped, and segments count one by one', () => {
          const fits = udp(4000, 53, Buffer.alloc(OVERLAY_MTU - (f.v6 ? 40 : 20) - 8));
          expect(bench.send('from_endpoint', 'lxca', ip({ from: f.a, to: f.remote }, fits)).tunnel).toBeDefined();
          const bulk = ip({ from: f.a, to: f.remote }, tcp(4000, 80, tcpFlags.ack, Buffer.alloc(3200)));
          const segments = (gsoSize: number) =>
            bench.send('from_endpoint', 'lxca', bulk, { gsoSize, gsoSegs: Math.ceil(3200 / gsoSize) }).verdict;
          const most = OVERLAY_MTU - (f.v6 ? 40 : 20) - 20;
          expect([segments(most), segments(most + 1)]).toEqual(['redirect', 'pass']);
        });

        test('later fragments go the way of the first', () => {
          const whole = udp(4000, 53, Buffer.alloc(24, 1));
          const piece = (offset: number, more: boolean) =>
            ip({ from: f.a, to: f.remote, fragment: { id: 77, offset, more } }, whole);
          for (const packet of [piece(0, true), piece(8, true), piece(16, false)])
            expect(bench.send('from_endpoint', 'lxca', packet).tunnel).toEqual(from2(identities.a));
        });

        test('the node’s own packets to a pod elsewhere come by cilium_host: remote-node to the other side', () => {
          const packet = ip({ from: f.gateway, to: f.remote }, udp(4000, 53));
          const outcome = bench.send('from_host', 'chost', packet);
          expect(outcome.tunnel).toEqual(from2(identities.node2));
          expect(outcome.data.equals(packet)).toBe(true);
        });

        test('what the stack cut for a pod keeps the pod’s identity', () => {
          const packet = ip({ from: f.a, to: f.remote }, udp(4000, 53));
          expect(bench.send('from_host', 'chost', packet).tunnel).toEqual(from2(identities.a));
        });

        test('what comes to cilium_host for nowhere is dropped; multicast is the link’s', () => {
          expect(bench.send('from_host', 'chost', ip({ from: f.gateway, to: f.stranger }, udp(1, 2)))).toMatchObject({
            verdict: 'drop',
            drops: ['NO_TUNNEL_OR_ENCAPSULATION_ENDPOINT'],
          });
          expect(bench.runQuiet('from_host', 'chost', ip({ from: f.gateway, to: f.multicast }, udp(1, 2)))).toBe(
            'pass',
          );
        });

        for (const [what, vni, identity] of [
          ['a pod', 70_000, 70_000],
          ['another node', 6, 6],
          ['world, which is of its family here', 2, f.worldIdentity],
          ['world of either family', 9, f.worldIdentity],
          ['the largest number that fits', 0xff_ffff, 0xff_ffff],
        ] as const)
          test(`from the tunnel to a pod: the key says ${what}`, () => {
            const packet = ip({ from: f.stranger, to: f.a, ttl: 64 }, udp(4000, 53));
            const { verdict, data, events } = bench.receive(packet, from2(vni));
            expect(verdict).toBe('redirect');
            expect(dissect(data)).toMatchObject({
              ethDest: macs.a.pod,
              ethSource: macs.a.host,
              from: f.stranger,
              to: f.a,
              ttl: 63,
              checksums: 'ok',
            });
            expect(events).toMatchObject([
              { type: 2, subtype: trace.toEndpoint, endpointId: 1, srcIdentity: identity },
            ]);
          });

        test('world is the CIDR that this node knows it as', () => {
          const cidr = 0x0100_0009;
          bench.ipcache(`${f.world}/${f.bits}`, cidr);
          const { events } = bench.receive(ip({ from: f.world, to: f.a }, udp(4000, 53)), from2(2));
          bench.clearIpcache(`${f.world}/${f.bits}`);
          expect(events).toMatchObject([{ srcIdentity: cidr }]);
        });

        test('a node that is the API server’s is that', () => {
          bench.ipcache(`${f.node2}/${f.bits}`, 7);
          const { events } = bench.receive(ip({ from: f.node2, to: f.a }, udp(4000, 53)), from2(6));
          bench.ipcache(`${f.node2}/${f.bits}`, identities.node2, { tunnelEndpoint: underlay.node2 });
          expect(events).toMatchObject([{ srcIdentity: 7 }]);
        });

        test('the identity of the key, not of the address, is asked about', () => {
          bench.endpoint('a', { flags: flags.enforceIngress });
          bench.policy('a', [{ direction: 'ingress', identity: 5555 }]);
          const packet = ip({ from: f.remote, to: f.a }, udp(4000, 53));
          expect(bench.receive(packet, from2(5555)).verdict).toBe('redirect');
          bench.clear('conntrack');
          expect(bench.receive(packet, from2(identities.remote)).drops).toEqual(['POLICY_DENIED']);
        });

        for (const vni of [0, identities.host])
          test(`a key that says ${vni} is dropped`, () => {
            const packet = ip({ from: f.remote, to: f.a }, udp(4000, 53));
            expect(bench.receive(packet, from2(vni))).toMatchObject({ verdict: 'drop', drops: ['INVALID_IDENTITY'] });
          });

        test('without a key: dropped', () => {
          const packet = ip({ from: f.remote, to: f.a }, udp(4000, 53));
          expect(bench.receive(packet, from2(NO_KEY)).drops).toEqual(['ERROR_RETRIEVING_TUNNEL_KEY']);
        });

        test('to the node: to the stack; its policy sees who the key says', () => {
          const packet = ip({ from: f.remote, to: f.gateway }, udp(4000, 53));
          const { verdict, data } = bench.receive(packet, from2(identities.remote));
          expect([verdict, data.equals(packet)]).toEqual(['pass', true]);
        });

        test('answers of pods to the tunnel pass, and come back by it', () => {
          bench.endpoint('a', { flags: flags.enforceIngress | flags.enforceEgress });
          bench.policy('a', [{ direction: 'ingress', identity: 5555 }]);
          expect(bench.receive(ip({ from: f.remote, to: f.a }, tcp(4000, 80, tcpFlags.syn)), from2(5555)).verdict).toBe(
            'redirect',
          );
          const answer = ip({ from: f.a, to: f.remote }, tcp(80, 4000, tcpFlags.syn | tcpFlags.ack));
          expect(bench.send('from_endpoint', 'lxca', answer).tunnel).toEqual(from2(identities.a));
        });

        for (const kind of Object.keys(errors) as (keyof typeof errors)[])
          test(`an ICMP error (${kind}) about a wrapped packet comes in by the tunnel`, () => {
            bench.endpoint('a', { flags: flags.enforceIngress });
            bench.policy('a', []);
            const sent = ip({ from: f.a, to: f.remote }, udp(4000, 53));
            expect(bench.send('from_endpoint', 'lxca', sent).tunnel).toBeDefined();
            const error = ip({ from: f.node2, to: f.a }, icmpError(kind, sent));
            const { verdict, events } = bench.receive(error, from2(6));
            expect(verdict).toBe('redirect');
            expect(events.at(-1)).toMatchObject({ subtype: trace.toEndpoint, ctState: 3 });
          });

        test('a pod does not speak to a node’s tunnel itself, in fragments neither', () => {
          for (const to of [f.node2, f.node, f.gateway]) {
            const forged = (fragment?: { id: number; offset: number; more: boolean }) =>
              bench.send(
                'from_endpoint',
                'lxca',
                ip({ from: f.a, to, ...(fragment && { fragment }) }, udp(40_000, 8472)),
              );
            expect(forged()).toMatchObject({ verdict: 'drop', drops: ['ENCAPSULATION_TRAFFIC_IS_PROHIBITED'] });
            expect(forged({ id: 5, offset: 0, more: true }).verdict).toBe('drop');
            expect(forged({ id: 5, offset: 8, more: false }).verdict).toBe('drop');
          }
          expect(bench.runQuiet('from_endpoint', 'lxca', ip({ from: f.a, to: f.world }, udp(40_000, 8472)))).toBe(
            'redirect',
          );
        });

        test('from the network only nodes speak to the tunnel', () => {
          const wrapped = (from: string) =>
            bench.send('from_netdev', 'eth0', ip({ from, to: f.node }, udp(40_000, 8472)));
          expect(wrapped(f.node2).verdict).toBe('pass');
          for (const from of [f.world, f.remote, f.native])
            expect(wrapped(from)).toMatchObject({ verdict: 'drop', drops: ['ENCAPSULATION_TRAFFIC_IS_PROHIBITED'] });
        });

        test('broken, truncated and foreign packets in a tunnel are dropped', () => {
          const packet = ip({ from: f.remote, to: f.a }, tcp(4000, 80, tcpFlags.syn));
          expect(bench.receive(packet.subarray(0, packet.length - 12), from2(5555)).drops).toEqual([
            'CT_TRUNCATED_OR_INVALID_HEADER',
          ]);
          const arp = Buffer.concat([packet.subarray(0, 12), Buffer.from([8, 6]), Buffer.alloc(28)]);
          expect(bench.receive(arp, from2(5555)).drops).toEqual(['UNSUPPORTED_L3_PROTOCOL']);
        });
      });

    test('neighbour discovery through a tunnel is dropped', () => {
      const [, v6] = families;
      const packet = ip({ from: v6.remote, to: v6.a, ttl: 255 }, icmp({ v4: 0, v6: 135 }, 0, neighborBody(v6.a)));
      expect(bench.receive(packet, from2(5555)).drops).toEqual(['FORBIDDEN_ICMPV6_MESSAGE']);
    });
  });
