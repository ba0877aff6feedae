/**
 * An engine written down: plain data that the structured clone algorithm takes, with rows that several hold being one object.
 *
 * - Only for engines of the same build, and between two steps.
 */
import type { ClusterEvent } from '../cluster/events.ts';
import type { Birth, RowName } from '../machines/machine.ts';
import type { TableName } from '../state/tables.ts';
import type { Cause, Transition } from './inspect.ts';
import type { RowEntry } from './rows.ts';

export interface SavedMachine {
  key: string;
  kind: string;
  snapshot: {
    value: unknown;
    /** JSON: contexts may be made of objects with methods, and come back from their JSON. */
    context: string;
    status: string;
  };
  topics: ReadonlySet<string>;
  facts: Map<string, string>;
  groupFacts: Map<string, Map<string, string>>;
  rows: readonly RowEntry[];
  groups: Map<string, readonly RowName[]>;
  unsettled: Set<RowEntry>;
  owedSettled: boolean;
  history: Transition[];
}

export interface SavedPopulation {
  machines: SavedMachine[];
  subscribers: Map<string, Set<string>>;
  facts: Map<string, Map<string, unknown>>;
  rebirths: Map<string, { birth: Birth; event: ClusterEvent }[]>;
  transitions: number;
  unheard: number;
}

export interface SavedEngine {
  population: SavedPopulation;
  rows: Map<TableName, Map<string, RowEntry>>;
  failed: Set<RowEntry>;
  waiting: Set<RowEntry>;
  heldBack: Set<RowEntry>;
  sources: Set<string>;
  pastOps: Map<string, string>;
  opCounts: Map<TableName, { ok: number; failed: number }>;
  cause: Cause;
  events: number;
  driftRepaired: number;
  inFlight: number;
  kernelInFlight: number;
  mark: number;
}
