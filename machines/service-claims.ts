/**
 * Who has an address and port that several ask for: said as facts, one topic each, so that the loser never wants the row.
 *
 * - A cluster address goes before all others: no external address can take over another service.
 * - Of equals the oldest wins, then the first by name; a pod that is going comes after one that stays.
 */
import type { FrontendRow } from '../state/tables.ts';
import { precedenceOf } from './service-spec.ts';

export interface Claim {
  type: FrontendRow['type'];
  /** `namespace/name`. */
  owner: string;
  /** creationTimestamp (RFC 3339, UTC). */
  created: string;
  leaving: boolean;
}

/** By frontend key, then by machine. */
export type Rivals = Readonly<Record<string, Readonly<Record<string, Claim>>>>;

const PREFIX = 'frontend/';
export const claimTopic = (key: string): string => `${PREFIX}${key}`;
/** Undefined if the topic is another's. */
export const claimedKey = (topic: string): string | undefined =>
  topic.startsWith(PREFIX) ? topic.slice(PREFIX.length) : undefined;

/** Without a time it is the youngest. */
const ageOf = ({ created }: Claim): string => created || '~';
const compare = <T>(a: T, b: T): number => (a < b ? -1 : a > b ? 1 : 0);

export function goesBefore(a: Claim, b: Claim): boolean {
  const order =
    compare(precedenceOf(a.type), precedenceOf(b.type)) ||
    compare(a.leaving, b.leaving) ||
    compare(ageOf(a), ageOf(b)) ||
    compare(a.owner, b.owner) ||
    compare(a.type, b.type);
  return order < 0;
}

/** The same object if nothing changes. */
export function withRival(rivals: Rivals, key: string, machine: string, claim: Claim | undefined): Rivals {
  const { [machine]: before, ...others } = rivals[key] ?? {};
  if (!claim && !before) return rivals;
  const now = claim ? { ...others, [machine]: claim } : others;
  const { [key]: _, ...rest } = rivals;
  return Object.keys(now).length > 0 ? { ...rest, [key]: now } : rest;
}

/** Those of keys that are still asked for. */
export function rivalsOf(rivals: Rivals, keys: ReadonlySet<string>): Rivals {
  return Object.fromEntries(Object.entries(rivals).filter(([key]) => keys.has(key)));
}

/** The claim that has the key instead of this one; undefined: this one has it. */
export function winnerOver(claim: Claim, rivals: Rivals, key: string): Claim | undefined {
  let best: Claim | undefined;
  for (const rival of Object.values(rivals[key] ?? {})) {
    if (goesBefore(rival, best ?? claim)) best = rival;
  }
  return best;
}
