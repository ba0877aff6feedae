/** Why a row is there, told as a story from the event to the kernel; pure. */
import type { ExplainView } from '../../observe/debug/table-routes.ts';
import type { Cause, OpRecord, RowState, Transition } from '../../reconcilers/inspect.ts';
import { canonical } from '../../state/tables.ts';
import { duration, timestamp } from './print.ts';
import { type Cell, formatFacts } from './table.ts';

const STATES: Readonly<Record<RowState, string>> = {
  'in-sync': 'is as wanted',
  pending: 'is to be changed',
  'in-flight': 'is being changed',
  failed: 'could not be changed',
  'held-back': 'is wanted by nobody, and stays until every source has told what it wants',
  orphan: 'is wanted by nobody',
};

const REASONS: Readonly<Record<OpRecord['reason'], string>> = {
  desired: 'the wish changed',
  drift: 'what was found differed from the wish',
  retry: 'an earlier try failed',
  orphan: 'nobody wants the row',
};

export function explanationText({ row, wanted, op, ...rest }: ExplainView): string {
  const facts: [string, Cell][] = [['row', `${row.table} ${row.key} ${STATES[row.state]}`]];
  const isThere = 'kernel' in rest;
  if (row.desired !== undefined) facts.push(['wanted', valueText(row.desired)]);
  facts.push(['found', foundText(row.desired, isThere, rest.kernel)]);
  if (row.error)
    facts.push([
      'failure',
      `${row.error.errno}: ${row.error.message}${row.error.retryable ? '; it is tried again' : ''}`,
    ]);
  if (wanted) facts.push(['event', causeText(wanted.cause)], ['machine', transitionText(wanted)]);
  else facts.push(['machine', 'none wants this row']);
  if (row.owners.length > 1) facts.push(['owners', `${row.owners.join(', ')}; the first one decides`]);
  if (op) facts.push(['op', opText(op, wanted)]);
  else facts.push(['op', wanted ? 'none: the row was found as wanted' : 'none']);
  return formatFacts(facts);
}

function foundText(desired: unknown, isThere: boolean, kernel: unknown): string {
  if (!isThere) return 'no such row';
  return canonical(desired) === canonical(kernel) ? 'the same' : valueText(kernel);
}

/** `identity=300 flags=0`; nested values as JSON. */
function valueText(value: unknown): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return JSON.stringify(value);
  return Object.entries(value)
    .map(
      ([key, inner]) =>
        `${key}=${typeof inner === 'object' ? JSON.stringify(inner) : inner === '' ? '""' : String(inner)}`,
    )
    .join(' ');
}

const causeText = ({ seq, at, source, type, subject }: Cause): string =>
  `#${seq} ${type} ${subject}, from ${source}, ${timestamp(at)}`;

function transitionText({ machine, from, to, on, cause }: Transition): string {
  if (from === '') return `${machine} came to life as ${to}, ${timestamp(cause.at)}`;
  const moved = from === to ? `stayed ${to}` : `went ${from} → ${to}`;
  return `${machine} ${moved} on ${on}, ${timestamp(cause.at)}`;
}

function opText(
  { action, reason, cause, plannedAt, doneAt, revision, error }: OpRecord,
  wanted: Transition | undefined,
): string[] {
  const plan = `${action} of revision ${revision}, planned ${timestamp(plannedAt)} since ${REASONS[reason]}`;
  const end =
    doneAt === undefined
      ? 'under way'
      : `${error ? `failed with ${error.errno}` : 'done'} ${timestamp(doneAt)}, after ${duration(doneAt - plannedAt)}`;
  const isSame = wanted?.cause.seq === cause.seq && wanted.cause.at === cause.at;
  return [plan, ...(isSame ? [] : [`after ${causeText(cause)}`]), end];
}
