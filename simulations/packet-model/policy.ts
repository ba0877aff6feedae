/**
 * What policy says of one (endpoint, direction, peer identity, protocol, port).
 *
 * - `lookup` is what a policy map answers: of each of the two identities (the peer's own, any) the longest prefix of protocol and
 *   port, then the higher precedence, the longer prefix, the exact identity.
 * - `meaning` is what the entries mean: of all that match, the highest precedence. Whoever writes entries sees to it that both say
 *   the same.
 */
import type { Entry } from './policy-entry.ts';
import { matches } from './policy-entry.ts';
import type { ModelTables } from './tables.ts';

export type Direction = 'ingress' | 'egress';

export interface Question {
  endpoint: number;
  direction: Direction;
  /** Of the peer. */
  identity: number;
  proto: number;
  /** For ICMP the type. */
  port: number;
}

/** Hubble's names of drop reasons; undefined: allowed. */
export type PolicyReason =
  | 'POLICY_DENIED'
  | 'POLICY_DENY'
  | 'NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION'
  | undefined;

export interface PolicyAnswer {
  reason: PolicyReason;
  /** What decided. */
  entry: Entry | undefined;
}

const HOST = 1;

function beats(one: Entry, other: Entry): boolean {
  if (one.precedence !== other.precedence) return one.precedence > other.precedence;
  if (one.length !== other.length) return one.length > other.length;
  return one.identity !== 0;
}

const better = (one: Entry | undefined, other: Entry | undefined): Entry | undefined =>
  one && (!other || beats(one, other)) ? one : other;

function longest(entries: Iterable<Entry>, { proto, port }: Question): Entry | undefined {
  let best: Entry | undefined;
  for (const entry of entries) {
    if (matches(entry, proto, port) && (!best || entry.length > best.length)) best = entry;
  }
  return best;
}

function highest(entries: Iterable<Entry>, { proto, port }: Question): Entry | undefined {
  let best: Entry | undefined;
  for (const entry of entries) if (matches(entry, proto, port)) best = better(entry, best);
  return best;
}

type Choice = (entries: Iterable<Entry>, question: Question) => Entry | undefined;

function answer(tables: ModelTables, question: Question, allowLocalhost: boolean, choose: Choice): PolicyAnswer {
  const { endpoint, direction, identity } = question;
  if (!tables.policyMaps.has(endpoint))
    return { reason: 'NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION', entry: undefined };
  const any = choose(tables.entries(endpoint, direction, 0), question);
  const exact = identity === 0 ? undefined : choose(tables.entries(endpoint, direction, identity), question);
  const entry = better(exact, any);
  if (entry) return { reason: entry.deny ? 'POLICY_DENY' : undefined, entry };
  const isHost = allowLocalhost && direction === 'ingress' && identity === HOST;
  return { reason: isHost ? undefined : 'POLICY_DENIED', entry };
}

export const lookup = (tables: ModelTables, question: Question, allowLocalhost: boolean): PolicyAnswer =>
  answer(tables, question, allowLocalhost, longest);

export const meaning = (tables: ModelTables, question: Question, allowLocalhost: boolean): PolicyAnswer =>
  answer(tables, question, allowLocalhost, highest);
