/** What the engine asks of the place where actual rows are kept, and of that for what it need not have in memory. */
import type { RowChange, StoredRow } from '../state/store.ts';
import type { RowStore } from './cold-rows.ts';
import type { ColdPlace } from './facts.ts';

/** Where actual rows are kept. */
export interface ActualStore {
  /** Nothing is kept: changes need not be told. */
  readonly forgets?: boolean;
  rows(): StoredRow[];
  write(changes: readonly RowChange[]): void;
  /** Of a store that may be asked for what is not kept in memory. */
  row?: RowStore['row'];
  rowsOf?: RowStore['rowsOf'];
}

export const asks = (store: ActualStore): store is ActualStore & RowStore => store.row !== undefined;

/** Where what is seldom needed may be, and how much of it stays in memory all the same. */
export interface Cold extends ColdPlace {
  rowsMax: number;
}

/** As the agent has it: the objects and rows of a hundred pods that come and go are at hand. */
export const IN_MEMORY = { eventsMax: 256, rowsMax: 512 };
