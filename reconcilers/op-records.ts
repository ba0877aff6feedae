/** Records of ops, and what an event is about, for whoever asks later. */
import { type ClusterEvent, type OpError, objectKey, topicsOf } from '../cluster/events.ts';
import type { OpRecord } from './inspect.ts';

/** One shape for all, not a spread: the last op of each row is kept. */
export function finished(op: OpRecord, doneAt: number, error: OpRecord['error']): OpRecord {
  const { table, key, action, revision, value, before, owners, cause, reason, plannedAt } = op;
  const record: OpRecord = { table, key, action, revision, value, before, owners, cause, reason, plannedAt, doneAt };
  if (error) record.error = error;
  return record;
}

export const orphaned: OpError = {
  kind: 'cancelled',
  errno: 'ECANCELED',
  message: 'another row could not be applied, and may still name this one',
  retryable: true,
};

/** What an event is about, in the words of its first topic. */
export function subjectOf(event: ClusterEvent): string {
  if (event.type === 'observed') return `${event.table} (${event.changes.length} rows)`;
  if (event.type === 'ops.done')
    return event.results.length === 1
      ? `${event.results[0]?.table} ${event.results[0]?.key}`
      : `${event.results.length} ops`;
  if (event.type === 'kube.upserted' || event.type === 'kube.deleted')
    return `${event.resource}/${objectKey(event.object)}`;
  return topicsOf(event)[0]?.topic ?? event.type;
}
