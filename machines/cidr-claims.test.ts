/** Overlaps of CIDRs found by lookups are those that looking at all of them finds. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { addressAt, parseCidr } from './cidr.ts';
import { CidrClaims } from './cidr-claims.ts';

const cidr = fc
  .record({ second: fc.nat(1), third: fc.nat(3), last: fc.nat(3), length: fc.constantFrom(8, 16, 22, 24, 32) })
  .map(({ second, third, last, length }) => {
    const parsed = parseCidr(`10.${second}.${third}.${last}/${length}`);
    return parsed ? `${addressAt(parsed, 0)}/${length}` : '';
  });
const ipv6 = fc
  .record({ second: fc.nat(2), length: fc.constantFrom(32, 48, 128) })
  .map(({ second, length }) => (length === 128 ? `fd00:${second || 1}::/128` : `fd00:${second || 1}::/${length}`));
const owner = fc.constantFrom('a', 'b', 'c', 'd');
const changes = fc.array(fc.tuple(owner, fc.uniqueArray(fc.oneof(cidr, ipv6), { maxLength: 4 })), { maxLength: 12 });

function overlap(one: string, other: string): boolean {
  const [a, b] = [parseCidr(one), parseCidr(other)];
  if (!a || !b || a.bits !== b.bits) return false;
  const end = (cidr: typeof a): bigint => cidr.base + (1n << BigInt(cidr.bits - cidr.prefixLength));
  return a.base < end(b) && b.base < end(a);
}

test('rivals are the others with something in common, whatever came before', () => {
  fc.assert(
    fc.property(changes, (all) => {
      let claims = CidrClaims.from({});
      const has = new Map<string, readonly string[]>();
      for (const [name, cidrs] of all) {
        claims = claims.with(name, cidrs);
        has.set(name, cidrs);
      }
      for (const [name, cidrs] of has)
        for (const one of cidrs) {
          const others = [...has].filter(([other, its]) => other !== name && its.some((its) => overlap(one, its)));
          expect(claims.rivals(name, one)).toEqual(others.map(([other]) => other).sort());
        }
      const again = CidrClaims.from(JSON.parse(JSON.stringify(claims)) as Record<string, string[]>);
      expect(JSON.stringify(again)).toBe(JSON.stringify(claims));
    }),
  );
});
