/** Allowed addresses as sets. */
import { expect, test } from 'vitest';
import { allowSame, coverage, uncovered } from './allowed-ips.ts';

test('a range inside another one says nothing', () => {
  const all = ['10.0.2.0/24', '10.0.2.1/32', '10.0.3.1/32', 'fd00::/64', 'fd00::1/128', 'fd01::1/128'];
  expect(uncovered(all)).toEqual(['10.0.2.0/24', '10.0.3.1/32', 'fd00::/64', 'fd01::1/128']);
  expect(uncovered(['0.0.0.0/0', '10.0.2.0/24', '::/0', '::1/128'])).toEqual(['0.0.0.0/0', '::/0']);
  expect(uncovered([])).toEqual([]);
});

test('a range covers itself only when that is asked, and never the other family', () => {
  const isCovered = coverage(['10.0.2.0/24', '::/0']);
  expect(isCovered('10.0.2.0/24')).toBe(false);
  expect(isCovered('10.0.2.0/24', true)).toBe(true);
  expect(isCovered('10.0.2.128/25')).toBe(true);
  expect(isCovered('10.0.0.0/16', true)).toBe(false);
  expect(isCovered('0.0.0.0/0', true)).toBe(false);
});

test('lists allow the same when only what is covered differs', () => {
  expect(allowSame(['10.0.2.0/24', '10.0.2.1/32'], ['10.0.2.0/24'])).toBe(true);
  expect(allowSame(['10.0.2.0/24'], ['10.0.2.9/32', '10.0.2.0/24'])).toBe(true);
  expect(allowSame(['10.0.2.0/24', '10.0.3.1/32'], ['10.0.2.0/24'])).toBe(false);
  expect(allowSame(['10.0.2.1/32'], ['10.0.2.0/24'])).toBe(false);
});
