/**
 * Who claims which CIDRs, as a value: whose overlap with one is found without looking at all of them.
 *
 * - Two CIDRs overlap where one contains the other. Those that contain one are found under its shorter prefixes, those inside it
 *   under itself: each claim is noted under every prefix length in use that is not longer than its own.
 */
import { PersistentMap } from '../policy/persistent-map.ts';
import { parseCidr } from './cidr.ts';

type Owners = Readonly<Record<string, readonly string[]>>;

/** `10.0.0.0/8` as bits, for prefixes of it to be cut off. */
interface Prefix {
  bits: 32 | 128;
  length: number;
  base: bigint;
}

function prefixOf(cidr: string): Prefix | undefined {
  const parsed = parseCidr(cidr);
  return parsed && { bits: parsed.bits, length: parsed.prefixLength, base: parsed.base };
}

const under = ({ bits, base }: Prefix, length: number): string => `${bits}/${length}/${base >> BigInt(bits - length)}`;

export class CidrClaims {
  /** CIDRs by owner. */
  readonly #claims: PersistentMap<string, readonly string[]>;
  /** By prefix in use as a length: CIDRs at or below it, with their owners. */
  readonly #below: PersistentMap<string, Owners>;
  /** How many CIDRs have it, by `bits/length`. */
  readonly #lengths: Readonly<Record<string, number>>;

  private constructor(
    claims: PersistentMap<string, readonly string[]>,
    below: PersistentMap<string, Owners>,
    lengths: Readonly<Record<string, number>>,
  ) {
    this.#claims = claims;
    this.#below = below;
    this.#lengths = lengths;
  }

  static from(record: Readonly<Record<string, readonly string[]>>): CidrClaims {
    const empty = new CidrClaims(PersistentMap.empty(), PersistentMap.empty(), {});
    return Object.entries(record).reduce((claims, [owner, cidrs]) => claims.with(owner, cidrs), empty);
  }

  of(owner: string): readonly string[] {
    return this.#claims.get(owner) ?? [];
  }

  /** What an owner claims from now on. */
  with(owner: string, cidrs: readonly string[]): CidrClaims {
    const before = this.of(owner);
    const gone = before.filter((cidr) => !cidrs.includes(cidr));
    const come = cidrs.filter((cidr) => !before.includes(cidr));
    const claims = cidrs.length > 0 ? this.#claims.set(owner, cidrs) : this.#claims.delete(owner);
    let now: CidrClaims = new CidrClaims(claims, this.#below, this.#lengths);
    for (const cidr of gone) now = now.#without(owner, cidr);
    for (const cidr of come) now = now.#including(owner, cidr);
    return now;
  }

  /** Others that claim something in common with a CIDR. */
  rivals(owner: string, cidr: string): string[] {
    const prefix = prefixOf(cidr);
    if (!prefix) return [];
    const found = new Set<string>();
    for (const length of this.#lengthsUpTo(prefix)) {
      const isOwn = length === prefix.length;
      for (const [other, owners] of Object.entries(this.#below.get(under(prefix, length)) ?? {}))
        if (isOwn || other.endsWith(`/${length}`)) for (const one of owners) found.add(one);
    }
    found.delete(owner);
    return [...found].sort();
  }

  #lengthsUpTo({ bits, length }: Prefix): number[] {
    return Object.keys(this.#lengths)
      .filter((name) => name.startsWith(`${bits}/`))
      .map((name) => Number(name.slice(name.indexOf('/') + 1)))
      .filter((one) => one <= length);
  }

  #including(owner: string, cidr: string): CidrClaims {
    const prefix = prefixOf(cidr);
    if (!prefix) return this;
    const name = `${prefix.bits}/${prefix.length}`;
    const count = this.#lengths[name] ?? 0;
    const lengths = { ...this.#lengths, [name]: count + 1 };
    let below = this.#below;
    // A length that nobody had: all that is longer is noted under it too.
    if (count === 0) {
      for (const [other, cidrs] of this.#claims.entries())
        for (const longer of cidrs) {
          const its = prefixOf(longer);
          const isNoted = other !== owner || this.#isNoted(other, longer);
          if (its && isNoted && its.bits === prefix.bits && its.length > prefix.length)
            below = noted(below, under(its, prefix.length), longer, other);
        }
    }
    const now = new CidrClaims(this.#claims, below, lengths);
    for (const length of now.#lengthsUpTo(prefix)) below = noted(below, under(prefix, length), cidr, owner);
    return new CidrClaims(this.#claims, below, lengths);
  }

  /** Whether it has been entered already: an owner's CIDRs come one by one. */
  #isNoted(owner: string, cidr: string): boolean {
    const prefix = prefixOf(cidr);
    return prefix !== undefined && this.#below.get(under(prefix, prefix.length))?.[cidr]?.includes(owner) === true;
  }

  #without(owner: string, cidr: string): CidrClaims {
    const prefix = prefixOf(cidr);
    if (!prefix) return this;
    let below = this.#below;
    for (const length of this.#lengthsUpTo(prefix)) below = forgotten(below, under(prefix, length), cidr, owner);
    const name = `${prefix.bits}/${prefix.length}`;
    const { [name]: count = 1, ...others } = this.#lengths;
    if (count > 1) return new CidrClaims(this.#claims, below, { ...others, [name]: count - 1 });
    for (const key of below.keys()) if (key.startsWith(`${prefix.bits}/${prefix.length}/`)) below = below.delete(key);
    return new CidrClaims(this.#claims, below, others);
  }

  toJSON(): Record<string, readonly string[]> {
    return Object.fromEntries([...this.#claims.entries()].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

type Below = PersistentMap<string, Owners>;

function noted(below: Below, key: string, cidr: string, owner: string): Below {
  const owners = below.get(key) ?? {};
  const known = owners[cidr] ?? [];
  return known.includes(owner) ? below : below.set(key, { ...owners, [cidr]: [...known, owner].sort() });
}

function forgotten(below: Below, key: string, cidr: string, owner: string): Below {
  const { [cidr]: known = [], ...others } = below.get(key) ?? {};
  const left = known.filter((one) => one !== owner);
  const owners = left.length > 0 ? { ...others, [cidr]: left } : others;
  return Object.keys(owners).length > 0 ? below.set(key, owners) : below.delete(key);
}
