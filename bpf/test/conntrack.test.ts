// SPDX-License-Identifier: Apache-2.0
/** Connections: made, recognised in both directions, aged and closed; one entry for each. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { Bench, families, identities } from './harness.ts';
import { echo, icmpError, ip, sctp, type Transport, tcp, tcpFlags, udp } from './packet.ts';

const { syn, ack, fin, rst } = tcpFlags;
const ctFlags = { originB: 1, seenReply: 2, established: 4, closingOrigin: 8, closingReply: 16, host: 32 };
const states = { new: 0, established: 1, reply: 2, related: 3 };

/** Time passes between two packets. */
const about = (seconds: number) => expect.toSatisfy((value: number) => value >= seconds && value <= seconds + 5);

// Every packet leaves an event, which tells its state.
const bench = new Bench('conntrack', { config: { traceAggregation: 1 } });
afterAll(() => bench.close());
beforeEach(() => bench.clear('conntrack'));

for (const f of families) {
  const send = (from: 'a' | 'b', transport: Transport) => {
    const to = from === 'a' ? 'b' : 'a';
    const { verdict, events } = bench.run(
      'from_endpoint',
      from === 'a' ? 'lxca' : 'lxcb',
      ip({ from: f[from], to: f[to] }, transport),
    );
    expect(verdict).toBe('redirect');
    return events.at(-1)?.ctState;
  };
  const entry = () => {
    const entries = bench.entries('conntrack');
    expect(entries).toHaveLength(1);
    const value = entries[0]?.value as Record<'expires' | 'created' | 'flags' | 'srcIdentity' | 'dstIdentity', number>;
    return { ...value, seconds: value.expires - value.created, has: (flag: number) => (value.flags & flag) !== 0 };
  };

  describe(f.name, () => {
    for (const [what, there, back] of [
      ['UDP', udp(4000, 53), udp(53, 4000)],
      ['SCTP', sctp(4000, 53, 1), sctp(53, 4000, 2)],
      ['an echo', echo('request', 7), echo('reply', 7)],
    ] as const)
      test(`${what}: one entry, new, then established, then replied to`, () => {
        expect([send('a', there), send('a', there), send('b', back), send('a', there)]).toEqual([0, 1, 2, 1]);
        expect(entry()).toMatchObject({ seconds: about(60), srcIdentity: identities.a, dstIdentity: identities.b });
        expect(entry().has(ctFlags.seenReply)).toBe(true);
      });

    test('the one who asks first is the originator, whichever end sorts first', () => {
      expect([send('b', udp(9, 4000)), send('a', udp(4000, 9))]).toEqual([states.new, states.reply]);
      expect(entry()).toMatchObject({ srcIdentity: identities.b, dstIdentity: identities.a });
    });

    test('echoes of both pods with the same id are two connections', () => {
      expect([send('a', echo('request', 7)), send('b', echo('request', 7)), send('a', echo('reply', 7))]).toEqual([
        0, 0, 2,
      ]);
      expect(bench.entries('conntrack')).toHaveLength(2);
    });

    test('TCP: 60 s for a SYN, 8000 s once established', () => {
      send('a', tcp(4000, 80, syn));
      expect(entry().seconds).toEqual(about(60));
      expect(send('b', tcp(80, 4000, syn | ack))).toBe(states.reply);
      expect(entry().seconds).toEqual(about(60));
      send('a', tcp(4000, 80, ack));
      expect(entry().seconds).toEqual(about(8000));
    });

    test('TCP: a first packet that is no SYN makes an established connection', () => {
      expect(send('a', tcp(4000, 80, ack))).toBe(states.new);
      expect(entry().seconds).toEqual(about(8000));
    });

    test('TCP: one FIN leaves the other direction open, two close in 10 s', () => {
      send('a', tcp(4000, 80, syn));
      send('a', tcp(4000, 80, ack));
      send('a', tcp(4000, 80, fin | ack));
      expect(entry().seconds).toEqual(about(8000));
      expect(entry().has(ctFlags.closingOrigin)).toBe(true);
      send('b', tcp(80, 4000, fin | ack));
      expect(entry().seconds).toEqual(about(10));
      expect(send('a', tcp(4000, 80, ack))).toBe(states.established);
      expect(entry().seconds).toEqual(about(10));
    });

    test('TCP: a RST of either side closes', () => {
      send('a', tcp(4000, 80, syn));
      send('b', tcp(80, 4000, rst | ack));
      expect(entry().seconds).toEqual(about(10));
    });

    test('TCP: a SYN on a closing connection begins a new one, in the same entry, from whichever end', () => {
      send('a', tcp(4000, 80, ack));
      send('a', tcp(4000, 80, rst));
      expect(send('a', tcp(4000, 80, syn))).toBe(states.new);
      expect(entry().seconds).toEqual(about(60));
      expect(entry().has(ctFlags.closingOrigin | ctFlags.closingReply | ctFlags.established)).toBe(false);
      send('a', tcp(4000, 80, rst));
      expect(send('b', tcp(80, 4000, syn))).toBe(states.new);
      expect(entry().srcIdentity).toBe(identities.b);
    });

    test('TCP: a SYN on an open connection belongs to it', () => {
      send('a', tcp(4000, 80, ack));
      expect(send('a', tcp(4000, 80, syn))).toBe(states.established);
    });

    test('SCTP: an ABORT closes', () => {
      send('a', sctp(4000, 80, 1));
      send('b', sctp(80, 4000, 6));
      expect(entry().seconds).toEqual(about(10));
      expect(send('a', sctp(4000, 80, 1))).toBe(states.new);
    });

    test('what has expired is new again, in the same entry', () => {
      send('a', udp(4000, 53));
      bench.patch('conntrack', { expires: entry().created });
      expect(send('a', udp(4000, 53))).toBe(states.new);
      expect(entry().seconds).toEqual(about(60));
    });

    test('a packet moves the end of an entry that nears it', () => {
      send('a', udp(4000, 53));
      const { expires } = entry();
      bench.patch('conntrack', { expires: expires - 30 });
      send('b', udp(53, 4000));
      expect(entry().expires).toBeGreaterThanOrEqual(expires);
    });

    for (const kind of ['portUnreachable', 'tooBig', 'timeExceeded'] as const)
      test(`an ICMP error (${kind}) about a connection is related, and makes no entry`, () => {
        const packet = ip({ from: f.a, to: f.b }, udp(4000, 53));
        send('a', udp(4000, 53));
        expect(send('b', icmpError(kind, packet))).toBe(states.related);
        expect(send('b', icmpError(kind, packet, 8))).toBe(states.related);
        expect(bench.entries('conntrack')).toHaveLength(1);
      });

    test('an ICMP error about an echo or a TCP connection is related', () => {
      for (const transport of [echo('request', 7), tcp(4000, 80, syn)]) {
        send('a', transport);
        expect(send('b', icmpError('timeExceeded', ip({ from: f.a, to: f.b }, transport)))).toBe(states.related);
      }
    });

    test('an ICMP error about nothing we know, or about what its receiver never sent, is not related', () => {
      expect(send('b', icmpError('timeExceeded', ip({ from: f.a, to: f.b }, udp(4000, 53))))).toBe(states.new);
      send('a', udp(4000, 53));
      expect(send('b', icmpError('timeExceeded', ip({ from: f.b, to: f.a }, udp(53, 4000))))).toBe(states.new);
    });

    test('a connection of the node to a pod is marked, its replies are known', () => {
      bench.run('to_endpoint', 'lxca', ip({ from: f.gateway, to: f.a }, tcp(4000, 80, syn)));
      expect(entry().has(ctFlags.host)).toBe(true);
      const { events } = bench.run('from_endpoint', 'lxca', ip({ from: f.a, to: f.gateway }, tcp(80, 4000, syn | ack)));
      expect(events.at(-1)).toMatchObject({ ctState: states.reply, dstIdentity: identities.host });
    });
  });
}
