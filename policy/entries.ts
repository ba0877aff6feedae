/**
 * From what rules contribute to the fewest map entries that mean the same, given how `bpf/lib/policy.h` looks them up: the longest
 * prefix for the exact identity, the longest prefix for any identity, and of these two the one with the higher precedence.
 *
 * - Within one identity an entry is only there if nothing broader has its precedence or a higher one: so the longest prefix is also the
 *   highest precedence, and a wide denial wins over a narrow allowance.
 * - An entry of one identity that an entry for any identity covers, with its precedence or a higher one, is left out too.
 */
import { broader, byBreadth, type PortKey } from './ports.ts';

/** What one element of a policy says about the peers that one selector selects. */
export interface Contribution {
  /** Key of the policy. */
  origin: string;
  deny: boolean;
  keys: readonly PortKey[];
}

/** Of the verdict of one entry. */
export interface Ruling {
  precedence: number;
  /** Sorted. */
  origins: readonly string[];
}
export type Rulings = ReadonlyMap<PortKey, Ruling>;

/** Upper 24 bits: rules of the first priority; all policy objects have that one. */
const FIRST_PRIORITY = 0xffffff00;
export const DENY_PRECEDENCE = FIRST_PRIORITY + 255;
export const ALLOW_PRECEDENCE = FIRST_PRIORITY + 1;
/** Of the last priority: what all else goes before. */
export const DEFAULT_ALLOW_PRECEDENCE = 1;

export const isDenial = ({ precedence }: Ruling): boolean => (precedence & 255) === 255;

/** `any`: the rulings for any identity, when these are for one. In the order broad to narrow. */
export function rulingsOf(contributions: readonly Contribution[], any?: Rulings): Rulings {
  const all = new Map<PortKey, Ruling>();
  for (const { origin, deny, keys } of contributions) {
    const precedence = deny ? DENY_PRECEDENCE : ALLOW_PRECEDENCE;
    for (const key of keys) {
      const known = all.get(key);
      if (known === undefined || known.precedence < precedence) all.set(key, { precedence, origins: [origin] });
      else if (known.precedence === precedence) all.set(key, { precedence, origins: including(known.origins, origin) });
    }
  }
  return fewest(all, any);
}

/** Those that make a difference. */
export function fewest(all: Rulings, any?: Rulings): Rulings {
  const minimal = new Map<PortKey, Ruling>();
  for (const key of [...all.keys()].sort(byBreadth)) {
    const ruling = all.get(key) as Ruling;
    if (!(any && isCovered(key, ruling, any)) && !isCoveredByBroader(key, ruling, minimal)) minimal.set(key, ruling);
  }
  return minimal;
}

function isCoveredByBroader(key: PortKey, { precedence }: Ruling, rulings: Rulings): boolean {
  if (rulings.size === 0) return false;
  for (let wider = broader(key); wider !== undefined; wider = broader(wider)) {
    const other = rulings.get(wider);
    if (other !== undefined) return other.precedence >= precedence;
  }
  return false;
}

function isCovered(key: PortKey, ruling: Ruling, rulings: Rulings): boolean {
  const same = rulings.get(key);
  return (same !== undefined && same.precedence >= ruling.precedence) || isCoveredByBroader(key, ruling, rulings);
}

function including(origins: readonly string[], origin: string): readonly string[] {
  if (origins.includes(origin)) return origins;
  return [...origins, origin].sort();
}

/** A number for a set of policies, never 0 (FNV-1a). */
export function cookieOf(origins: readonly string[]): number {
  let hash = 0x811c9dc5;
  const text = origins.join('\n');
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0 || 1;
}
