/** Addresses: text and bytes go into each other and back, and only canonical text is taken. */
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { describe, expect, test } from 'vitest';
import {
  formatAddress,
  formatMac,
  masked,
  parseAddress,
  parseMac,
  parsePrefix,
  readMapped,
  readMappedPrefix,
  writeMapped,
  writeMappedPrefix,
} from './address.ts';

const bytesOf = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((array) => Buffer.from(array));
/** Zero groups are where the text gets interesting. */
const sparse = fc
  .array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(0xffff) }), {
    minLength: 8,
    maxLength: 8,
  })
  .map((groups) => Buffer.from(groups.flatMap((group) => [group >> 8, group & 255])));
const ipv6 = fc.oneof(bytesOf(16), sparse);
const address = fc.oneof(bytesOf(4), ipv6);

describe('addresses', () => {
  test('text is what ipaddr.js writes, which names rows', () => {
    fc.assert(
      fc.property(address, (bytes) => {
        expect(formatAddress(bytes)).toBe(ipaddr.fromByteArray([...bytes]).toString());
      }),
    );
  });

  test('bytes to text and back', () => {
    fc.assert(
      fc.property(address, (bytes) => {
        expect(parseAddress(formatAddress(bytes))).toEqual(bytes);
      }),
    );
  });

  test('mapped bytes to text and back', () => {
    const into = Buffer.alloc(16);
    fc.assert(
      fc.property(ipv6, (bytes) => {
        writeMapped(readMapped(bytes), into);
        expect(into).toEqual(bytes);
      }),
    );
  });

  test('mapped prefixes to text and back', () => {
    const into = Buffer.alloc(16);
    fc.assert(
      fc.property(ipv6, fc.nat(128), (bytes, length) => {
        const network = masked(bytes, length);
        expect(writeMappedPrefix(readMappedPrefix(network, length), into)).toBe(length);
        expect(into).toEqual(network);
      }),
    );
  });

  test('MACs to text and back', () => {
    fc.assert(
      fc.property(bytesOf(6), (bytes) => {
        expect(parseMac(formatMac(bytes))).toEqual(bytes);
      }),
    );
  });

  test.each([
    ['10.0.0.5', '00000000000000000000ffff0a000005'],
    ['fd00::5', 'fd000000000000000000000000000005'],
    ['', '00000000000000000000000000000000'],
  ])('%j is %s in a map', (text, hex) => {
    const into = Buffer.alloc(16, 0xee);
    writeMapped(text, into);
    expect(into.toString('hex')).toBe(hex);
    expect(readMapped(into)).toBe(text);
  });

  test.each([
    '10.0.0',
    '10.0.0.05',
    '10.0.0.1/8',
    'fd00:0:0:0:0:0:0:1',
    'FD00::1',
    'fe80::1%eth0',
    '::1.2.3.4',
    'x',
    '',
  ])('%j is refused', (text) => {
    expect(() => parseAddress(text)).toThrow(TypeError);
  });

  test.each(['::', '::ffff:a00:1'])('%j has another text in a map', (text) => {
    expect(() => writeMapped(text, Buffer.alloc(16))).toThrow(TypeError);
  });

  test.each(['10.0.0.0', '10.0.0.1/24', '10.0.0.0/33', '10.0.0.0/08', 'fd00::1/64', 'fd00::/129', '/8', '10.0.0.0/'])(
    'prefix %j is refused',
    (text) => {
      expect(() => parsePrefix(text)).toThrow(TypeError);
    },
  );

  test('a refusal says what was expected', () => {
    expect(() => parsePrefix('10.0.0.1/24')).toThrow('expected 10.0.0.0/24');
    expect(() => parseAddress('FD00:0::1')).toThrow('expected fd00::1');
  });
});
