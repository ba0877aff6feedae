/** WireGuard's allowed addresses as a set of addresses: a range inside another of the same peer says nothing. */
import { type Family, familyOf, masked, parsePrefix } from '../address.ts';

const nameOf = (family: Family, bytes: Buffer, length: number): string =>
  `${family} ${bytes.toString('hex')} ${length}`;

/** Whether a range is inside another one of these, or is one of them when `orSame`. */
export function coverage(cidrs: readonly string[]): (cidr: string, orSame?: boolean) => boolean {
  const names = new Set<string>();
  const lengths: Record<Family, Set<number>> = { 4: new Set(), 6: new Set() };
  for (const cidr of cidrs) {
    const { bytes, length } = parsePrefix(cidr);
    names.add(nameOf(familyOf(cidr), bytes, length));
    lengths[familyOf(cidr)].add(length);
  }
  return (cidr, orSame = false) => {
    const family = familyOf(cidr);
    const { bytes, length } = parsePrefix(cidr);
    const limit = length + (orSame ? 1 : 0);
    for (const wider of lengths[family]) {
      if (wider < limit && names.has(nameOf(family, masked(bytes, wider), wider))) return true;
    }
    return false;
  };
}

/** Without what is inside another one of them. */
export function uncovered(cidrs: readonly string[]): string[] {
  const isCovered = coverage(cidrs);
  return cidrs.filter((cidr) => !isCovered(cidr));
}

/** Whether two lists allow the same ranges. */
export function allowSame(some: readonly string[], others: readonly string[]): boolean {
  const [left, right] = [uncovered(some), uncovered(others)];
  const listed = new Set(left);
  return left.length === right.length && right.every((cidr) => listed.has(cidr));
}
