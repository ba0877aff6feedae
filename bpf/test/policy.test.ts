// SPDX-License-Identifier: Apache-2.0
/** Policy: which entry wins, what is checked again, what passes unchecked, and what is told. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { Bench, families, flags, identities, type PolicyEntry } from './harness.ts';
import { echo, icmpError, ip, type Transport, tcp, tcpFlags, udp } from './packet.ts';

const { syn, ack } = tcpFlags;
const verdictEvent = 3;
const actions = { allow: 0, deny: 1, audit: 2 };
const matches = { none: 0, l3Only: 1, l3L4: 2, l4Only: 3, all: 4, l3Proto: 5, protoOnly: 6 };
const protocol = { tcp: 6, udp: 17 };

const bench = new Bench('policy');
afterAll(() => bench.close());
beforeEach(() => {
  bench.clear('conntrack', 'policy');
  bench.endpoint('a');
  bench.endpoint('b');
});

for (const f of families) {
  const aToB = (transport: Transport) => bench.run('from_endpoint', 'lxca', ip({ from: f.a, to: f.b }, transport));
  const bToA = (transport: Transport) => bench.run('from_endpoint', 'lxcb', ip({ from: f.b, to: f.a }, transport));
  const web = tcp(4000, 80, syn);

  describe(f.name, () => {
    test('without a policy everything passes, and nothing is told', () => {
      const { verdict, events } = aToB(web);
      expect([verdict, events.filter(({ type }) => type === verdictEvent)]).toEqual(['redirect', []]);
    });

    test('an enforcing endpoint whose policy is missing gets nothing', () => {
      bench.endpoint('b', { flags: flags.enforceIngress });
      expect(aToB(web).drops).toEqual(['NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION']);
      bench.endpoint('b');
      bench.endpoint('a', { flags: flags.enforceEgress });
      expect(aToB(web).drops).toEqual(['NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION']);
    });

    /** Ingress entries of b, the packet from a, and what comes of it. */
    const ingress: readonly (readonly [
      string,
      Omit<PolicyEntry, 'direction'>[],
      Transport,
      'redirect' | string,
      number,
    ])[] = [
      ['nothing allowed', [], web, 'POLICY_DENIED', matches.none],
      ['everything allowed', [{}], web, 'redirect', matches.all],
      ['the identity allowed', [{ identity: identities.a }], web, 'redirect', matches.l3Only],
      ['another identity allowed', [{ identity: identities.b }], web, 'POLICY_DENIED', matches.none],
      [
        'the identity and port allowed',
        [{ identity: identities.a, proto: protocol.tcp, dport: 80 }],
        web,
        'redirect',
        matches.l3L4,
      ],
      [
        'another port allowed',
        [{ identity: identities.a, proto: protocol.tcp, dport: 81 }],
        web,
        'POLICY_DENIED',
        matches.none,
      ],
      [
        'another protocol allowed',
        [{ identity: identities.a, proto: protocol.udp, dport: 80 }],
        web,
        'POLICY_DENIED',
        matches.none,
      ],
      ['the port allowed for all', [{ proto: protocol.tcp, dport: 80 }], web, 'redirect', matches.l4Only],
      ['the protocol allowed for all', [{ proto: protocol.tcp }], web, 'redirect', matches.protoOnly],
      [
        'the protocol allowed for the identity',
        [{ identity: identities.a, proto: protocol.tcp }],
        web,
        'redirect',
        matches.l3Proto,
      ],
      [
        'a range of ports allowed, inside it',
        [{ proto: protocol.tcp, dport: 0x1f00, portBits: 8 }],
        tcp(4000, 0x1fff, syn),
        'redirect',
        matches.l4Only,
      ],
      [
        'a range of ports allowed, outside of it',
        [{ proto: protocol.tcp, dport: 0x1f00, portBits: 8 }],
        tcp(4000, 0x2000, syn),
        'POLICY_DENIED',
        matches.none,
      ],
      [
        'deny of all over allow of the identity and port',
        [{ deny: true }, { identity: identities.a, proto: protocol.tcp, dport: 80 }],
        web,
        'POLICY_DENY',
        matches.all,
      ],
      [
        'deny of the identity over allow of all',
        [{ identity: identities.a, deny: true }, {}],
        web,
        'POLICY_DENY',
        matches.l3Only,
      ],
      [
        'allow of higher precedence over deny',
        [
          { deny: true, precedence: 255 },
          { identity: identities.a, precedence: 511 },
        ],
        web,
        'redirect',
        matches.l3Only,
      ],
      [
        'of equal precedence the longer prefix',
        [
          { identity: identities.a, precedence: 5, deny: true },
          { proto: protocol.tcp, dport: 80, precedence: 5 },
        ],
        web,
        'redirect',
        matches.l4Only,
      ],
      [
        'of equal precedence and prefix the exact identity',
        [{ precedence: 5 }, { identity: identities.a, precedence: 5, deny: true }],
        web,
        'POLICY_DENY',
        matches.l3Only,
      ],
      [
        'an ICMP type, as if it were a port',
        [{ proto: f.icmp, dport: f.v6 ? 128 : 8 }],
        echo('request', 7),
        'redirect',
        matches.l4Only,
      ],
      [
        'a port allowed, ICMP sent',
        [{ proto: protocol.tcp, dport: 8 }],
        echo('request', 7),
        'POLICY_DENIED',
        matches.none,
      ],
      [
        'a redirect to a proxy, which there is none',
        [{ proto: protocol.tcp, dport: 80, proxyPort: 10000 }],
        web,
        'PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL',
        matches.l4Only,
      ],
    ];
    for (const [what, entries, transport, expected, match] of ingress)
      test(`ingress: ${what}`, () => {
        bench.policy(
          'b',
          entries.map((entry) => ({ ...entry, direction: 'ingress', cookie: 77 })),
        );
        bench.endpoint('b', { flags: flags.enforceIngress });
        const { verdict, drops, events } = aToB(transport);
        expect(verdict === 'drop' ? drops[0] : verdict).toBe(expected);
        expect(events.filter(({ type }) => type === verdictEvent)).toMatchObject([
          {
            subtype: expected === 'redirect' ? actions.allow : actions.deny,
            policyMatch: match,
            policyCookie: match === matches.none ? 0 : 77,
            direction: 0,
            endpointId: 2,
            srcIdentity: identities.a,
            dstIdentity: identities.b,
          },
        ]);
        expect(bench.entries('conntrack')).toHaveLength(expected === 'redirect' ? 1 : 0);
      });

    test('egress: to a pod, to the world and to the node, each by its identity', () => {
      bench.endpoint('a', { flags: flags.enforceEgress });
      const send = (to: string) => bench.run('from_endpoint', 'lxca', ip({ from: f.a, to }, web)).verdict;
      const all = () => [send(f.b), send(f.world), send(f.gateway)];
      const allow = (...identity: number[]) =>
        bench.policy(
          'a',
          identity.map((id) => ({ direction: 'egress', identity: id })),
        );
      allow();
      expect(all()).toEqual(['drop', 'drop', 'drop']);
      allow(identities.b, f.worldIdentity, identities.host);
      expect(all()).toEqual(['redirect', 'redirect', 'pass']);
    });

    test('both ends are asked: egress of the sender, ingress of the receiver', () => {
      bench.endpoint('a', { flags: flags.enforceEgress });
      bench.endpoint('b', { flags: flags.enforceIngress });
      bench.policy('a', [{ direction: 'egress' }]);
      bench.policy('b', [{ direction: 'egress' }]);
      expect(aToB(web).drops).toEqual(['POLICY_DENIED']);
      bench.policy('b', [{ direction: 'ingress' }]);
      expect(aToB(web).verdict).toBe('redirect');
    });

    test('replies and related errors need no rule', () => {
      bench.endpoint('a', { flags: flags.enforceIngress | flags.enforceEgress });
      bench.policy('a', [{ direction: 'egress', identity: identities.b }]);
      expect(bToA(udp(53, 4000)).verdict).toBe('drop');
      expect(aToB(udp(4000, 53)).verdict).toBe('redirect');
      expect(bToA(udp(53, 4000)).verdict).toBe('redirect');
      expect(bToA(icmpError('portUnreachable', ip({ from: f.a, to: f.b }, udp(4000, 53)))).verdict).toBe('redirect');
    });

    test('fragmentation needed passes policy, other errors about unknown connections do not', () => {
      bench.endpoint('a', { flags: flags.enforceIngress });
      bench.policy('a', []);
      const packet = ip({ from: f.a, to: f.b }, udp(4000, 53));
      expect(bToA(icmpError('tooBig', packet)).verdict).toBe('redirect');
      expect(bToA(icmpError('timeExceeded', packet)).verdict).toBe('drop');
    });

    test('an established connection is checked again when the revision moves, and cut if it is no longer allowed', () => {
      const ingressOnly = (policyRevision: number) =>
        bench.endpoint('b', { flags: flags.enforceIngress, policyRevision });
      ingressOnly(1);
      bench.policy('b', [{ direction: 'ingress' }]);
      expect(aToB(web).verdict).toBe('redirect');
      bench.policy('b', []);
      expect(aToB(tcp(4000, 80, ack)).verdict).toBe('redirect');
      ingressOnly(2);
      expect(aToB(tcp(4000, 80, ack)).drops).toEqual(['POLICY_DENIED']);
      bench.policy('b', [{ direction: 'ingress' }]);
      expect(aToB(tcp(4000, 80, ack)).verdict).toBe('redirect');
    });

    test('an established connection is checked again when the revision of the node moves', () => {
      bench.endpoint('b', { flags: flags.enforceIngress });
      bench.policy('b', [{ direction: 'ingress' }]);
      expect(aToB(web).verdict).toBe('redirect');
      bench.policy('b', []);
      expect(aToB(tcp(4000, 80, ack)).verdict).toBe('redirect');
      bench.policyRevision(7);
      expect(aToB(tcp(4000, 80, ack)).drops).toEqual(['POLICY_DENIED']);
      bench.policyRevision(0);
    });

    test('a connection from before there was a policy is checked when there is one', () => {
      expect(aToB(web).verdict).toBe('redirect');
      bench.policy('b', []);
      bench.endpoint('b', { flags: flags.enforceIngress });
      expect(aToB(tcp(4000, 80, ack)).drops).toEqual(['POLICY_DENIED']);
    });

    test('revision 0 is never taken for checked', () => {
      bench.endpoint('b', { flags: flags.enforceIngress, policyRevision: 0 });
      bench.policy('b', [{ direction: 'ingress' }]);
      expect(aToB(web).verdict).toBe('redirect');
      bench.policy('b', []);
      expect(aToB(tcp(4000, 80, ack)).verdict).toBe('drop');
    });

    test('an established connection is checked again when the identity of its peer changes', () => {
      bench.endpoint('b', { flags: flags.enforceIngress });
      bench.policy('b', [{ direction: 'ingress', identity: identities.a }]);
      expect(aToB(web).verdict).toBe('redirect');
      bench.endpoint('a', { identity: 4711 });
      expect(aToB(tcp(4000, 80, ack)).verdict).toBe('drop');
    });

    test('audit: what is denied passes and is told as such, for established connections too', () => {
      bench.endpoint('b', { flags: flags.enforceIngress | flags.audit });
      bench.policy('b', [{ direction: 'ingress', deny: true }]);
      const { verdict, events } = aToB(web);
      expect(verdict).toBe('redirect');
      expect(events.filter(({ type }) => type === verdictEvent)).toMatchObject([
        { subtype: actions.audit, reason: 181 },
      ]);
      expect(aToB(tcp(4000, 80, ack)).verdict).toBe('redirect');
    });

    test('the node reaches its pods without a rule, but not against a deny', () => {
      const fromNode = () => bench.run('to_endpoint', 'lxca', ip({ from: f.gateway, to: f.a }, web)).verdict;
      bench.endpoint('a', { flags: flags.enforceIngress });
      bench.policy('a', []);
      expect(fromNode()).toBe('pass');
      bench.clear('conntrack');
      bench.policy('a', [{ direction: 'ingress', deny: true }]);
      expect(fromNode()).toBe('drop');
    });

    test('from the network: the identity of the source decides', () => {
      bench.endpoint('a', { flags: flags.enforceIngress });
      bench.policy('a', [{ direction: 'ingress', identity: identities.remote }]);
      const fromNetwork = (from: string) => bench.run('from_netdev', 'eth0', ip({ from, to: f.a }, web)).verdict;
      expect([fromNetwork(f.remote), fromNetwork(f.world)]).toEqual(['redirect', 'drop']);
    });
  });
}

describe('without allow-localhost', () => {
  const strict = new Bench('policy-strict', { config: { allowLocalhost: 0, allowIcmpFragNeeded: 0 } });
  afterAll(() => strict.close());
  for (const f of families)
    test(`${f.name}: the node needs a rule, and so does fragmentation needed`, () => {
      strict.endpoint('a', { flags: flags.enforceIngress });
      strict.policy('a', []);
      expect(strict.run('to_endpoint', 'lxca', ip({ from: f.gateway, to: f.a }, udp(1, 2))).verdict).toBe('drop');
      const error = icmpError('tooBig', ip({ from: f.a, to: f.b }, udp(4000, 53)));
      expect(strict.run('from_endpoint', 'lxcb', ip({ from: f.b, to: f.a }, error)).verdict).toBe('drop');
    });
});
