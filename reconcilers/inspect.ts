/** What the engine shows of itself: plain data for the debug endpoint, the command line and tests. */
import type { Observable } from 'rxjs';
import type { ClusterEvent, OpError } from '../cluster/events.ts';
import type { TableName } from '../state/tables.ts';

/** The event at the root of something, short enough to keep with every row. */
export interface Cause {
  seq: number;
  at: number;
  source: string;
  type: ClusterEvent['type'];
  /** The object, container, link or timer that the event is about, in the words of its topic. */
  subject: string;
}

export interface Transition {
  machine: string;
  /** State before, or '' when the machine came to life; nested states are joined with dots. */
  from: string;
  /** State after, or '' when the machine ended. */
  to: string;
  /** Type of the message that the machine received: an event's type, `fact`, `settled`, `failed`, … */
  on: string;
  cause: Cause;
}

export type RowState = 'in-sync' | 'pending' | 'in-flight' | 'failed' | 'held-back' | 'orphan';

export interface RowView {
  table: TableName;
  key: string;
  desired?: unknown;
  actual?: unknown;
  /** Machines that want the row; the first one's value is desired. */
  owners: string[];
  /** Owners that want another value and lost, as when two pods claim one address. */
  contested?: string[];
  revision: number;
  state: RowState;
  error?: OpError;
}

export interface MachineView {
  key: string;
  kind: string;
  state: string;
  context: unknown;
  topics: string[];
  rows: { table: TableName; key: string; state: RowState }[];
  /** Latest transition. */
  last?: Transition;
}

/** Why a row is (or is not) in the world: event → machine and transition → row → op. */
export interface Explanation {
  row: RowView;
  /** The transition that gave the row its present desired value; absent when nobody wants it. */
  wanted?: Transition;
  /** Latest op on the row. */
  op?: OpRecord;
}

export interface OpRecord {
  table: TableName;
  key: string;
  action: 'put' | 'delete';
  revision: number;
  value?: unknown;
  before?: unknown;
  owners: readonly string[];
  /** The event after which the op was planned; `drift` when a dump revealed the need. */
  cause: Cause;
  reason: 'desired' | 'drift' | 'retry' | 'orphan';
  plannedAt: number;
  doneAt?: number;
  error?: OpError;
}

export interface EngineStats {
  seq: number;
  events: number;
  transitions: number;
  machines: number;
  rows: number;
  ops: { table: TableName; ok: number; failed: number }[];
  pending: number;
  inFlight: number;
  driftRepaired: number;
  sources: string[];
}

export interface Inspector {
  readonly transitions$: Observable<Transition>;
  /** Each op when it is planned, and again when it is done. */
  readonly ops$: Observable<OpRecord>;
  machines(): MachineView[];
  machine(key: string): (MachineView & { history: Transition[] }) | undefined;
  /** Contexts of all machines of a kind: what a look at `machines()` costs is spared. */
  contexts(kind: string): unknown[];
  /** Name and Mermaid-able logic of each kind of machine. */
  kinds(): { name: string; logic: unknown }[];
  rows(table: TableName): RowView[];
  explain(table: TableName, key: string): Explanation | undefined;
  stats(): EngineStats;
}
