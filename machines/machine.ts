/**
 * What every kind of machine is to the engine: pure XState logic and four pure functions of a snapshot.
 *
 * - A machine hears messages of the topics it names, answers to its requests, and news of its own rows.
 * - It speaks in three ways: rows (the world it wants), facts (what others may know), and `tell` (a word to one machine).
 * - It does no I/O and reads no clock: every message carries `at`, the time of the event behind it.
 */
import { produce } from 'immer';
import type { AnyMachineSnapshot, AnyStateMachine } from 'xstate';
import type { ClusterEvent, OpError } from '../cluster/events.ts';
import type { Row } from '../state/tables.ts';

/** What another machine knows; `value` undefined: no longer. */
export interface FactMessage {
  type: 'fact';
  topic: string;
  from: string;
  value: unknown;
}
/** All rows of this machine, and the deletes of those it gave up, are actual. */
export interface SettledMessage {
  type: 'settled';
}
/** An op on a row of this machine failed; it is not tried again until the row changes or the machine says `retry`. */
export interface FailedMessage {
  type: 'failed';
  table: string;
  key: string;
  error: OpError;
}
/** The number of machines subscribed to this machine's own topic went to zero, or up from it. */
export interface WantedMessage {
  type: 'wanted' | 'unwanted';
}

/** Between an endpoint and the ip-pool. */
export type AddressMessage =
  | { type: 'address.request'; owner: string }
  | { type: 'address.release'; owner: string }
  | { type: 'address.granted'; ipv4: string; ipv6: string }
  | { type: 'address.refused'; reason: string };

export type Message = (ClusterEvent | FactMessage | SettledMessage | FailedMessage | WantedMessage | AddressMessage) & {
  at: number;
};
/** The messages with these types, as a machine's event union. */
export type Hears<T extends Message['type']> = Extract<Message, { type: T }>;

/** A word to one machine; dropped (and counted) if there is none of that key. */
export interface Tell {
  to: string;
  message: FactMessage | AddressMessage;
}

export interface Birth {
  key: string;
  input: unknown;
}

/** By type of event, so that the others need not be looked at. */
export type Births = {
  [T in ClusterEvent['type']]?: (event: Extract<ClusterEvent, { type: T }>, at: number) => Birth[];
};

export interface Fact {
  topic: string;
  value: unknown;
}

export type RowName = Pick<Row, 'table' | 'key'>;

export interface Kind {
  name: string;
  logic: AnyStateMachine;
  /** Machines that an event brings to life, unless they live already; the newborn hears the event's topics as any other. */
  births?: Births;
  /** Topics with this prefix are machines of this kind: the first subscription brings one to life with the topic as key. */
  serves?: string;
  /** Topics and facts that are as they were are the very same lists: they are kept, and not looked at again. */
  repeatsLists?: true;
  topics(snapshot: AnyMachineSnapshot): string[];
  facts?(snapshot: AnyMachineSnapshot): Fact[];
  rows(snapshot: AnyMachineSnapshot): Row[];
  /**
   * For machines with so many rows that to list them all for each event would break the cost rule: rows beside those of `rows`, in
   * groups of the machine's own naming. A transition changes only the groups that it names in `touched`; an empty group is no group.
   */
  groups?: {
    touched(snapshot: AnyMachineSnapshot): readonly string[];
    rows(snapshot: AnyMachineSnapshot, group: string): readonly Row[];
    /** Facts beside those of `facts`: a topic belongs to one group. */
    facts?(snapshot: AnyMachineSnapshot, group: string): readonly Fact[];
    /**
     * Groups whose names say which rows they may have: of these the engine keeps no lists. No row is in two groups. Rows of a kind
     * with such groups may be out of memory.
     */
    named?: {
      /** Undefined: not of this group. */
      rows(group: string): readonly RowName[] | undefined;
      /** All such groups that there are. */
      groups(snapshot: AnyMachineSnapshot): Iterable<string>;
    };
  };
}

/** The machine actions that the engine carries out. */
export const speech = {
  tell: (_: unknown, _params: Tell): void => {},
  /** Try the failed rows of this machine again. */
  retry: (): void => {},
};

/** An immer recipe over context and event, for `assign`. */
export function recipe<C, E>(change: (draft: C, event: E) => void): (args: { context: C; event: E }) => C {
  return ({ context, event }) => produce(context, (draft) => change(draft as C, event));
}
