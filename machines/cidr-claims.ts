/**
 * Who claims which CIDRs, as a value: whose overlap with one is found without looking at all of them.
 *
 * - Two CIDRs overlap where one contains the other. Those that contain one are its shorter prefixes of lengths in use; those inside it
 *   are noted under it, since each claim is noted under every shorter prefix of a length in use.
 */
import { PersistentMap } from '../policy/persistent-map.ts';
import { parseCidr } from './cidr.ts';

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

type Inside = PersistentMap<string, PersistentMap<string, string>>;

export class CidrClaims {
  /** CIDRs by owner. */
  readonly #claims: PersistentMap<string, readonly string[]>;
  /** Owners by CIDR. */
  readonly #exact: PersistentMap<string, readonly string[]>;
  /** By prefix of a length in use: owners of longer CIDRs that begin with it, by owner and CIDR. */
  readonly #inside: Inside;
  /** How many CIDRs have it, by `bits/length`. */
  readonly #lengths: Readonly<Record<string, number>>;

  private constructor(
    claims: PersistentMap<string, readonly string[]>,
    exact: PersistentMap<string, readonly string[]>,
    inside: Inside,
    lengths: Readonly<Record<string, number>>,
  ) {
    this.#claims = claims;
    this.#exact = exact;
    this.#inside = inside;
    this.#lengths = lengths;
  }

  static from(record: Readonly<Record<string, readonly string[]>>): CidrClaims {
    const empty = new CidrClaims(PersistentMap.empty(), PersistentMap.empty(), PersistentMap.empty(), {});
    return Object.entries(record).reduce((claims, [owner, cidrs]) => claims.with(owner, cidrs), empty);
  }

  of(owner: string): readonly string[] {
    return this.#claims.get(owner) ?? [];
  }

  /** What an owner claims from now on. */
  with(owner: string, cidrs: readonly string[]): CidrClaims {
    const before = this.of(owner);
    const claims = cidrs.length > 0 ? this.#claims.set(owner, cidrs) : this.#claims.delete(owner);
    let now = new CidrClaims(claims, this.#exact, this.#inside, this.#lengths);
    for (const cidr of before) if (!cidrs.includes(cidr)) now = now.#without(owner, cidr);
    for (const cidr of cidrs) if (!before.includes(cidr)) now = now.#including(owner, cidr);
    return now;
  }

  /** Others that claim something in common with a CIDR. */
  rivals(owner: string, cidr: string): string[] {
    const prefix = prefixOf(cidr);
    if (!prefix) return [];
    const found = new Set<string>(this.#inside.get(under(prefix, prefix.length))?.values());
    for (const length of this.#lengthsUpTo(prefix))
      for (const one of this.#exact.get(under(prefix, length)) ?? []) found.add(one);
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
    const key = under(prefix, prefix.length);
    const exact = this.#exact.set(key, [...(this.#exact.get(key) ?? []), owner]);
    let inside = this.#inside;
    // A length that nobody had: all that is longer is noted under it.
    if (count === 0) inside = this.#notedUnder(prefix);
    for (const length of this.#lengthsUpTo(prefix))
      if (length < prefix.length) inside = noted(inside, under(prefix, length), owner, cidr);
    return new CidrClaims(this.#claims, exact, inside, { ...this.#lengths, [name]: count + 1 });
  }

  #notedUnder({ bits, length }: Prefix): Inside {
    let inside = this.#inside;
    for (const [owner, cidrs] of this.#claims.entries())
      for (const cidr of cidrs) {
        const longer = prefixOf(cidr);
        if (longer?.bits === bits && longer.length > length && this.#has(owner, longer))
          inside = noted(inside, under(longer, length), owner, cidr);
      }
    return inside;
  }

  /** Whether it has been entered: CIDRs of one owner come one by one. */
  #has(owner: string, prefix: Prefix): boolean {
    return this.#exact.get(under(prefix, prefix.length))?.includes(owner) === true;
  }

  #without(owner: string, cidr: string): CidrClaims {
    const prefix = prefixOf(cidr);
    if (!prefix) return this;
    const key = under(prefix, prefix.length);
    const owners = (this.#exact.get(key) ?? []).filter((one) => one !== owner);
    const exact = owners.length > 0 ? this.#exact.set(key, owners) : this.#exact.delete(key);
    let inside = this.#inside;
    for (const length of this.#lengthsUpTo(prefix))
      if (length < prefix.length) inside = forgotten(inside, under(prefix, length), owner, cidr);
    const name = `${prefix.bits}/${prefix.length}`;
    const { [name]: count = 1, ...others } = this.#lengths;
    if (count > 1) return new CidrClaims(this.#claims, exact, inside, { ...others, [name]: count - 1 });
    for (const prefixKey of inside.keys()) if (prefixKey.startsWith(`${name}/`)) inside = inside.delete(prefixKey);
    return new CidrClaims(this.#claims, exact, inside, others);
  }

  toJSON(): Record<string, readonly string[]> {
    return Object.fromEntries([...this.#claims.entries()].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

function noted(inside: Inside, key: string, owner: string, cidr: string): Inside {
  const known = inside.get(key) ?? PersistentMap.empty<string, string>();
  return inside.set(key, known.set(`${owner} ${cidr}`, owner));
}

function forgotten(inside: Inside, key: string, owner: string, cidr: string): Inside {
  const left = inside.get(key)?.delete(`${owner} ${cidr}`);
  return left && left.size > 0 ? inside.set(key, left) : inside.delete(key);
}
