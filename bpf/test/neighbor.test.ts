// SPDX-License-Identifier: Apache-2.0
/** ARP and neighbour discovery of pods. */
import { afterAll, describe, expect, test } from 'vitest';
import { Bench, families, macs } from './harness.ts';
import { arp, dissect, icmp, ip, neighborBody } from './packet.ts';

const bench = new Bench('neighbor');
afterAll(() => bench.close());

const [v4, v6] = families;
const a = { mac: macs.a.pod, ip: v4.a };
const linkLocal = 'fe80::aa';
const sourceOption = { kind: 'source', mac: macs.a.pod } as const;

const solicit = (
  from: string,
  to: string,
  target: string,
  options: { ethDest?: string; ttl?: number; withOption?: boolean } = {},
) =>
  ip(
    { from, to, ttl: options.ttl ?? 255, ethSource: macs.a.pod, ethDest: options.ethDest ?? '33:33:ff:00:00:01' },
    icmp({ v4: 0, v6: 135 }, 0, neighborBody(target, options.withOption === false ? undefined : sourceOption)),
  );

describe('ARP', () => {
  for (const [what, target] of [
    ['its gateway', v4.gateway],
    ['another pod', v4.b],
    ['an address of the world', v4.world],
  ] as const)
    test(`a pod that asks for ${what} gets the MAC of its veth's host side`, () => {
      const { verdict, data } = bench.run('from_endpoint', 'lxca', arp('request', a, { ip: target }));
      expect(verdict).toBe('redirect');
      const answer = arp('reply', { mac: macs.a.host, ip: target }, { mac: macs.a.pod, ip: v4.a });
      Buffer.from(macs.a.pod.replaceAll(':', ''), 'hex').copy(answer, 0);
      expect(data.toString('hex')).toBe(answer.toString('hex'));
    });

  for (const [what, packet, verdict, drops] of [
    ['an announcement of its own address goes to the stack', arp('request', a, { ip: v4.a }), 'pass', []],
    [
      'a probe for its own address goes to the stack',
      arp('request', { ...a, ip: '0.0.0.0' }, { ip: v4.a }),
      'pass',
      [],
    ],
    ['an answer to the node goes to the stack', arp('reply', a, { ip: v4.gateway, mac: macs.a.host }), 'pass', []],
    [
      "another pod's address as sender is dropped",
      arp('request', { ...a, ip: v4.b }, { ip: v4.gateway }),
      'drop',
      ['INVALID_SOURCE_IP'],
    ],
    [
      "an answer for another pod's address is dropped",
      arp('reply', { ...a, ip: v4.b }, { ip: v4.gateway }),
      'drop',
      ['INVALID_SOURCE_IP'],
    ],
    [
      "a probe for another pod's address is dropped",
      arp('request', { ...a, ip: '0.0.0.0' }, { ip: v4.b }),
      'drop',
      ['INVALID_SOURCE_IP'],
    ],
    ['a cut packet is dropped', arp('request', a, { ip: v4.b }).subarray(0, 30), 'drop', ['INVALID_PACKET_DROPPED']],
  ] as const)
    test(what, () => {
      const outcome = bench.run('from_endpoint', 'lxca', packet);
      expect([outcome.verdict, outcome.drops]).toEqual([verdict, drops]);
    });

  test('ARP of the node passes towards the pod', () => {
    expect(
      bench.run('to_endpoint', 'lxca', arp('request', { mac: macs.a.host, ip: v4.gateway }, { ip: v4.a })).verdict,
    ).toBe('pass');
  });
});

describe('neighbour discovery', () => {
  const group = 'ff02::1:ff00:1';
  for (const [what, packet, answer] of [
    ['its gateway', solicit(v6.a, group, v6.gateway), { to: v6.a, mac: macs.a.host }],
    ['another pod', solicit(v6.a, group, v6.b), { to: v6.a, mac: macs.a.host }],
    [
      'its gateway, without telling its MAC',
      solicit(v6.a, v6.gateway, v6.gateway, { withOption: false }),
      { to: v6.a, mac: macs.a.host },
    ],
    [
      'whether its gateway is still there, from its link-local address',
      solicit(linkLocal, v6.gateway, v6.gateway, { ethDest: macs.a.host }),
      { to: linkLocal, mac: macs.a.host },
    ],
  ] as const)
    test(`a pod that asks for ${what} gets the MAC of its veth's host side`, () => {
      const { verdict, data } = bench.run('from_endpoint', 'lxca', packet);
      expect(verdict).toBe('redirect');
      const target = packet.subarray(62, 78);
      expect(dissect(data)).toMatchObject({
        ethSource: answer.mac,
        ethDest: macs.a.pod,
        to: answer.to,
        ttl: 255,
        icmpType: 136,
        checksums: 'ok',
      });
      expect(data.subarray(22, 38).equals(target)).toBe(true);
      expect(data.subarray(58).toString('hex')).toBe(
        `e0000000${target.toString('hex')}0201${answer.mac.replaceAll(':', '')}`,
      );
    });

  const message = (type: number, from: string, to: string, rest: Buffer) =>
    ip({ from, to, ttl: 255 }, icmp({ v4: 0, v6: type }, 0, rest));
  for (const [what, packet, verdict, drops] of [
    ['duplicate address detection of its own address goes to the stack', solicit('::', group, v6.a), 'pass', []],
    [
      'duplicate address detection of its link-local address goes to the stack',
      solicit('::', group, linkLocal),
      'pass',
      [],
    ],
    [
      'duplicate address detection of a foreign address is dropped',
      solicit('::', group, v6.b),
      'drop',
      ['FORBIDDEN_ICMPV6_MESSAGE'],
    ],
    ["another pod's address as source is dropped", solicit(v6.b, group, v6.gateway), 'drop', ['INVALID_SOURCE_IP']],
    [
      'a solicitation that was routed is dropped',
      solicit(v6.a, group, v6.gateway, { ttl: 64 }),
      'drop',
      ['FORBIDDEN_ICMPV6_MESSAGE'],
    ],
    [
      'an answer to the node goes to the stack',
      message(136, v6.a, v6.gateway, neighborBody(v6.a, { kind: 'target', mac: macs.a.pod })),
      'pass',
      [],
    ],
    [
      'an answer for a foreign address is dropped',
      message(136, v6.a, v6.gateway, neighborBody(v6.b, { kind: 'target', mac: macs.a.pod })),
      'drop',
      ['INVALID_SOURCE_IP'],
    ],
    [
      'a router solicitation is dropped',
      message(133, linkLocal, 'ff02::2', Buffer.alloc(4)),
      'drop',
      ['FORBIDDEN_ICMPV6_MESSAGE'],
    ],
    [
      'a router advertisement is dropped',
      message(134, linkLocal, 'ff02::1', Buffer.alloc(12)),
      'drop',
      ['FORBIDDEN_ICMPV6_MESSAGE'],
    ],
    ['a redirect is dropped', message(137, linkLocal, v6.a, Buffer.alloc(36)), 'drop', ['FORBIDDEN_ICMPV6_MESSAGE']],
    [
      'a multicast listener report is dropped',
      message(143, linkLocal, 'ff02::16', Buffer.alloc(24)),
      'drop',
      ['FORBIDDEN_ICMPV6_MESSAGE'],
    ],
    [
      'a cut solicitation is dropped',
      solicit(v6.a, group, v6.gateway).subarray(0, 70),
      'drop',
      ['INVALID_PACKET_DROPPED'],
    ],
  ] as const)
    test(what, () => {
      const outcome = bench.run('from_endpoint', 'lxca', packet);
      expect([outcome.verdict, outcome.drops]).toEqual([verdict, drops]);
    });

  test('neighbour discovery of the node passes towards the pod', () => {
    expect(bench.run('to_endpoint', 'lxca', solicit(v6.gateway, group, v6.a)).verdict).toBe('pass');
  });
});
