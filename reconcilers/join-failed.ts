/**
 * What failed of a machine is tried again with whatever else it has to do, since without it the plan would not be in order:
 * what is to go may be what the failed row still names. What nobody owns waits until nothing has failed.
 */
import { tables } from '../state/tables.ts';
import { orphaned } from './op-records.ts';
import type { Machine } from './population.ts';
import { type RowEntry, type RowIndex, settled } from './rows.ts';

/** Before a plan for the rows that wait; the set grows by what joins. */
export function joinFailed(rows: RowIndex, waiting: Set<RowEntry>, machines: ReadonlyMap<string, Machine>): void {
  const { failed } = rows;
  if (failed.size === 0) return;
  const owners = new Set<string>();
  // The set grows as it is walked: what joins brings its owners.
  for (const entry of waiting) {
    if (settled(entry) || entry.error) continue;
    for (const key of entry.watchers.keys()) {
      if (owners.has(key)) continue;
      owners.add(key);
      for (const other of machines.get(key)?.unsettled ?? []) {
        if (!other.error || tables[other.table].lane !== 'kernel') continue;
        rows.touch(other, 'retry');
        waiting.add(other);
      }
    }
  }
  rows.dirty.clear();
  if (![...failed].some(({ table, error }) => tables[table].lane === 'kernel' && error?.kind !== 'cancelled')) return;
  for (const entry of waiting)
    if (entry.watchers.size === 0 && !settled(entry) && !entry.error) rows.fail(entry, orphaned);
}
