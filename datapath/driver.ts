/**
 * The contract between the engine and what changes the world.
 *
 * Laws (each has a test in `reconcilers/driver-laws.ts`, run against the real and the simulated kernel):
 * - put is idempotent, and an update of an existing row is atomic for packets;
 * - deleting what is absent succeeds;
 * - what was put is dumped with an equal value; what is not ours is never dumped and never touched;
 * - an op that fails changes nothing, and says which object, which errno and whether a retry may help.
 */
import type { OpError } from '../cluster/events.ts';
import type { Lane, TableName } from '../state/tables.ts';

export interface Op {
  table: TableName;
  action: 'put' | 'delete';
  key: string;
  /** The value to put; undefined for a delete. */
  value: unknown;
  /** The actual value before, undefined when there was none. */
  before: unknown;
  revision: number;
  /** Keys of the machines that want this row (or last wanted it). */
  owners: readonly string[];
}

export type { OpError };

/** undefined: done. */
export type OpResult = OpError | undefined;

export interface Driver {
  readonly tables: readonly TableName[];
  readonly lane: Lane;
  /** Applies ops of one table and one action; results in the same order. */
  apply(ops: readonly Op[]): OpResult[] | Promise<OpResult[]>;
  /**
   * What is really there, of one table. `known` are the rows believed to be there (they may say where to look: other
   * namespaces). A driver whose world is SQLite or gone with the process has no dump.
   */
  dump?(table: TableName, known: ReadonlyMap<string, unknown>): Map<string, unknown> | Promise<Map<string, unknown>>;
}
