/** Records of ops, and what an event is about, for whoever asks later. */
import { type ClusterEvent, type OpError, objectKey, topicsOf } from '../cluster/events.ts';
import type { Op } from '../datapath/driver.ts';
import type { Cause, OpRecord, Transition } from './inspect.ts';
import { decided, type RowEntry, type Want } from './rows.ts';

/** The op that brings a row to what is wanted of it, with its record while it is under way. */
export function begun(entry: RowEntry, wanted: Want | undefined, cause: Cause): { op: Op; record: OpRecord } {
  const { table, key, revision, actual: before } = entry;
  const action = wanted ? 'put' : 'delete';
  const value = wanted?.value;
  const owners = wanted ? entry.wants.keys().sort() : entry.watchers.keys();
  const reason = wanted || entry.everWanted ? entry.why : 'orphan';
  const op: Op = { table, action, key, value, before, revision, owners };
  return { op, record: { table, key, action, revision, value, before, owners, cause, reason, plannedAt: cause.at } };
}

/** One shape for all, not a spread: the last op of each row is kept. */
export function finished(op: OpRecord, doneAt: number, error: OpRecord['error']): OpRecord {
  const { table, key, action, revision, value, before, owners, cause, reason, plannedAt } = op;
  const record: OpRecord = { table, key, action, revision, value, before, owners, cause, reason, plannedAt, doneAt };
  if (error) record.error = error;
  return record;
}

interface Written {
  op?: OpRecord;
  /** The transition that gave the row its value. */
  by?: Transition;
  revision: number;
}

/** As a row's op is stored: with who wants the row, if it is what is wanted. */
export function writtenOp(op: OpRecord, entry: RowEntry): string {
  const want = decided(entry)?.want;
  if (!want || want.json !== entry.actualJson) return JSON.stringify(op);
  const { cause, ...by } = want.by;
  const isSame = cause === op.cause;
  return JSON.stringify({ ...op, wanted: { by: isSame ? by : want.by, revision: entry.revision } });
}

export function readOp(text: string): Written {
  if (text === '') return { revision: 0 };
  const { wanted, ...op } = JSON.parse(text) as OpRecord & { wanted?: { by: Transition; revision: number } };
  return {
    op,
    revision: wanted?.revision ?? op.revision,
    ...(wanted && { by: { ...wanted.by, cause: wanted.by.cause ?? op.cause } }),
  };
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
