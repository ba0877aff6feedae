/** One step of a replay, as those who watch it see it: what came, what was planned, and what is true after it. */
import type { LogEntry } from '../../cluster/events.ts';
import type { RecordingHeader } from '../../cluster/recording-format.ts';
import type { Op } from '../../datapath/driver.ts';
import type { Engine } from '../../reconcilers/engine.ts';
import type { Step } from '../../reconcilers/plan.ts';
import { isTableName, type TableName } from '../../state/tables.ts';
import type { SimulatedKernel } from '../kernel.ts';

/** A moment's name: `seq` counts from 1 in each run. */
export interface Position {
  run: number;
  seq: number;
}

export interface Moment extends Position {
  header: RecordingHeader;
  entry: LogEntry;
  /** Where it is written: file and line. */
  file: string;
  line: number;
  /** Planned after the event. */
  steps: readonly Step[];
  engine: Engine;
  kernel: SimulatedKernel;
}

export interface Divergence extends Position {
  message: string;
}

export interface PlannedOp {
  seq: number;
  at: number;
  op: Op;
}

/** Watches a replay; `stop` ends it after this moment. */
export interface Watcher {
  /** Before the first event of a run: its engine knows nothing yet. */
  onRun?(run: number, header: RecordingHeader, engine: Engine): void;
  /** Before an event is taken; `stop` ends the replay without it. */
  before?(run: number, seq: number, at: number): 'stop' | undefined;
  onMoment(moment: Moment): 'stop' | undefined;
}

export interface ChangedRow {
  table: TableName;
  key: string;
  /** Undefined: the row is gone. */
  value: unknown;
}

/** Rows that the engine takes for actual since this event and did not before, or has another value for. */
export function changedRows({ entry: { event }, engine }: Moment): ChangedRow[] {
  const changed: ChangedRow[] = [];
  const note = (table: string, key: string): void => {
    if (isTableName(table)) changed.push({ table, key, value: engine.explain(table, key)?.row.actual });
  };
  if (event.type === 'ops.done') {
    for (const { table, key, error } of event.results) if (!error) note(table, key);
  } else if (event.type === 'observed') for (const { key } of event.changes) note(event.table, key);
  return changed;
}

/** `#12`, or `2:#12` where there are several runs. */
export const nameOfPosition = ({ run, seq }: Position, runs = 1): string => (runs > 1 ? `${run}:#${seq}` : `#${seq}`);
