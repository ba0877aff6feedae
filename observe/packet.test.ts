/** Captured frames: what is read of them, and what of those that are cut off or of another kind. */
import { describe, expect, it } from 'vitest';
import { ipv6Text, protocolName, summarize, tcpFlagNames } from './packet.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const mac = '020000000001 020000000002';
const ipv4 = (proto: string, payload: string, fragment = '0000'): Buffer =>
  hex(`${mac} 0800 45000028 0001${fragment} 40${proto}0000 0a000001 0a000002 ${payload}`);
const ends6 = 'fd000000000000000000000000000001 fd000000000000000000000000000002';
const ipv6 = (next: string, payload: string): Buffer => hex(`${mac} 86dd 60000000 0014${next}40 ${ends6} ${payload}`);
const tcpSyn = '9c40 0050 00000001 00000000 5002 ffff 0000 0000';

describe('a captured frame', () => {
  it.each<[string, Buffer, object | undefined]>([
    [
      'TCP over IPv4',
      ipv4('06', tcpSyn),
      {
        source: '10.0.0.1',
        destination: '10.0.0.2',
        protocol: 'tcp',
        sourcePort: 40000,
        destinationPort: 80,
        tcpFlags: ['SYN'],
      },
    ],
    [
      'TCP over IPv6',
      ipv6('06', tcpSyn),
      {
        source: 'fd00::1',
        destination: 'fd00::2',
        protocol: 'tcp',
        sourcePort: 40000,
        destinationPort: 80,
        tcpFlags: ['SYN'],
      },
    ],
    [
      'UDP',
      ipv4('11', '0035 1234 0008 0000'),
      { source: '10.0.0.1', destination: '10.0.0.2', protocol: 'udp', sourcePort: 53, destinationPort: 0x1234 },
    ],
    [
      'SCTP',
      ipv6('84', '0035 1234 0008 0000'),
      { source: 'fd00::1', destination: 'fd00::2', protocol: 'sctp', sourcePort: 53, destinationPort: 0x1234 },
    ],
    [
      'ICMP',
      ipv4('01', '0800 0000 0001 0001'),
      {
        source: '10.0.0.1',
        destination: '10.0.0.2',
        protocol: 'icmp',
        icmp: { type: 8, code: 0, text: 'EchoRequest' },
      },
    ],
    [
      'ICMPv6 behind hop-by-hop options',
      ipv6('00', '3a00 0000 0000 0000 8700 0000'),
      {
        source: 'fd00::1',
        destination: 'fd00::2',
        protocol: 'icmpv6',
        icmp: { type: 135, code: 0, text: 'NeighborSolicitation' },
      },
    ],
    [
      'a later fragment',
      ipv4('11', '00350035', '2001'),
      { source: '10.0.0.1', destination: '10.0.0.2', protocol: 'udp', fragment: true },
    ],
    [
      'a later IPv6 fragment',
      ipv6('2c', '1100 0009 00000001 00350035'),
      { source: 'fd00::1', destination: 'fd00::2', protocol: 'udp', fragment: true },
    ],
    [
      'TCP cut off after its ports',
      ipv4('06', '9c400050'),
      { source: '10.0.0.1', destination: '10.0.0.2', protocol: 'tcp', sourcePort: 40000, destinationPort: 80 },
    ],
    ['TCP cut off before them', ipv4('06', ''), { source: '10.0.0.1', destination: '10.0.0.2', protocol: 'tcp' }],
    ['ARP', hex(`${mac} 0806 0001`), undefined],
    ['half an Ethernet header', hex('0200'), undefined],
    ['half an IPv4 header', hex(`${mac} 0800 4500`), undefined],
    ['half an IPv6 header', hex(`${mac} 86dd 6000`), undefined],
  ])('%s', (_, frame, summary) => {
    expect(summarize(frame)).toEqual(summary);
  });

  it('of any length and content is no error', () => {
    for (let length = 0; length < 128; length++) {
      for (const type of ['0800', '86dd']) {
        const frame = Buffer.alloc(length, 0xff);
        hex(type).copy(frame, 12);
        expect(() => summarize(frame)).not.toThrow();
      }
    }
  });
});

it.each([
  ['00000000000000000000000000000000', '::'],
  ['00000000000000000000000000000001', '::1'],
  ['fd000000000000000000000000000000', 'fd00::'],
  ['20010db8000000010000000000000001', '2001:db8:0:1::1'],
  ['20010db8000000000001000000000001', '2001:db8::1:0:0:1'],
  ['20010db8000100020003000400050006', '2001:db8:1:2:3:4:5:6'],
  ['20010db8000000020003000400050006', '2001:db8:0:2:3:4:5:6'],
])('IPv6 %s is written %s', (bytes, text) => {
  expect(ipv6Text(hex(bytes))).toBe(text);
});

it('names flags and protocols as monitors do', () => {
  expect(tcpFlagNames(0x12)).toEqual(['SYN', 'ACK']);
  expect([6, 58, 99].map(protocolName)).toEqual(['tcp', 'icmpv6', 'proto-99']);
});
