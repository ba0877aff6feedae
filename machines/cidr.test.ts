/** One text for each address and range, and none for what is no address. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatAddress } from '../datapath/address.ts';
import { canonicalAddress, canonicalCidr, contains } from './cidr.ts';

describe('canonical texts', () => {
  test.each([
    ['10.0.0.1', '10.0.0.1'],
    ['255.255.255.255', '255.255.255.255'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['fd00::0', 'fd00::'],
    ['256.0.0.1', undefined],
    ['010.0.0.1', undefined],
    ['10.0.0', undefined],
    ['10.0.0.1.', undefined],
    ['', undefined],
    ['::ffff:10.0.0.1', undefined],
    ['fe80::1%eth0', undefined],
    ['example.org', undefined],
  ])('address %s', (text, expected) => {
    expect(canonicalAddress(text)).toBe(expected);
  });

  test.each([
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['2001:DB8:1::/32', '2001:db8::/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['::/0', '::/0'],
    ['10.0.0.0/33', undefined],
    ['10.0.0.0', undefined],
    ['::ffff:10.0.0.0/104', undefined],
  ])('range %s', (text, expected) => {
    expect(canonicalCidr(text)).toBe(expected);
  });

  test('addresses read as drivers write them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat(0xff), (bytes, zeros) => {
        // Runs of zero groups, which are what texts differ in.
        const address = bytes.map((byte, i) => ((zeros >> (i >> 1)) & 1 ? 0 : byte));
        fc.pre(address.slice(0, 2).some((byte) => byte !== 0));
        expect(canonicalAddress(formatAddress(address))).toBe(formatAddress(address));
      }),
    );
  });

  test('an address is in its own ranges only', () => {
    expect(contains('10.0.0.0/8', '10.255.0.1')).toBe(true);
    expect(contains('10.0.0.0/8', '11.0.0.1')).toBe(false);
    expect(contains('10.0.0.0/8', 'fd00::1')).toBe(false);
    expect(contains('nonsense', '10.0.0.1')).toBe(false);
  });
});
