/** What a replay found, for people. */
import { basename } from 'node:path';

import type { Account, EventBrief } from '../../simulations/replay/account.ts';
import type { Checked } from '../../simulations/replay/check.ts';
import { laws } from '../../simulations/replay/check.ts';
import type { Followed } from '../../simulations/replay/follow.ts';
import type { PlannedOp } from '../../simulations/replay/moment.ts';
import type { Replayed } from '../../simulations/replay.ts';
import { differences } from '../../simulations/replay.ts';
import { canonical } from '../../state/tables.ts';
import { clock, timestamp } from '../output/print.ts';
import { type Cell, formatFacts, formatTable } from '../output/table.ts';

const SHOWN = 20;
const VALUE_SHOWN = 160;

export const shortly = (value: unknown): string => {
  const text = canonical(value) ?? '';
  return text.length > VALUE_SHOWN ? `${text.slice(0, VALUE_SHOWN)}…` : text;
};

export const opLine = ({ seq, at, op }: PlannedOp): string =>
  `#${seq} ${clock(at)} ${op.action} ${op.table} ${op.key}${op.value === undefined ? '' : ` ${canonical(op.value)}`}\n`;

export const eventText = ({
  seq,
  at,
  type,
  subject,
  file,
  line,
}: {
  seq: number;
  at: number;
  type: string;
  subject: string;
  file?: string;
  line?: number;
}): string => `#${seq} ${timestamp(at)} ${type} ${subject}${file === undefined ? '' : ` (${basename(file)}:${line})`}`;

export function followText({ seq, at, machine, from, to, on, because }: Followed): string {
  const change = from === '' ? `born → ${to}` : to === '' ? `${from}, and ended` : `${from} → ${to}`;
  const root =
    because.seq === seq
      ? `#${because.seq} ${because.type} ${because.subject}`
      : `#${because.seq} ${because.type} ${because.subject}, whose ops were done`;
  return `#${seq} ${clock(at)} ${machine}: ${change} (${on}), because of ${root}\n`;
}

export function accountText({ event, transitions, ops, rows, root }: Account): string {
  const facts: [string, Cell][] = [['Event', eventText(event)]];
  if (root) facts.push(['Because of', eventText(root)]);
  const change = ({ machine, from, to, on }: Account['transitions'][number]): string =>
    `${machine}: ${from || 'born'} → ${to || 'ended'} (${on})`;
  const opText = ({ action, table, key, value, before }: Account['ops'][number]): string =>
    `${action} ${table} ${key} ${action === 'put' ? changeText(before, value) : ''}`.trim();
  facts.push(['Transitions', listed(transitions.map(change))]);
  if (rows.length > 0 || ops.length === 0)
    facts.push([
      'Done',
      listed(
        rows.map(({ table, key, value }) => `${table} ${key} ${value === undefined ? 'gone' : `= ${shortly(value)}`}`),
      ),
    ]);
  facts.push(['Planned', listed(ops.map(opText))]);
  return formatFacts(facts);
}

/** Of two rows only the fields in which they differ. */
export function changeText(before: unknown, after: unknown): string {
  if (after === undefined) return `gone, was ${shortly(before)}`;
  if (before === undefined) return `new: ${shortly(after)}`;
  const [a, b] = [before as Record<string, unknown>, after as Record<string, unknown>];
  const fields = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter(
    (field) => canonical(a[field]) !== canonical(b[field]),
  );
  return fields.map((field) => `${field} ${shortly(a[field]) || 'none'} → ${shortly(b[field]) || 'none'}`).join(', ');
}

function listed(lines: readonly string[]): Cell {
  if (lines.length === 0) return 'none';
  const more = lines.length - SHOWN;
  return more > 0 ? [...lines.slice(0, SHOWN), `… and ${more} more`] : lines;
}

export function summaryText(replayed: Replayed, isMoment: boolean): string {
  const { header, runs, entries, ops, seq, at, torn, divergenceCount, digest, engine, kernel, faultCount } = replayed;
  const { inFlight, transitions, machines } = engine.stats();
  const unlike = differences(engine, kernel);
  const states = new Map<string, number>();
  for (const { kind, state } of engine.machines())
    states.set(`${kind} ${state}`, (states.get(`${kind} ${state}`) ?? 0) + 1);
  const byState = [...states].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, count]) => `${count} ${name}`);
  const facts: [string, Cell][] = [
    [
      'Recording',
      `node ${header.node}, axoneme ${header.build}, kernel ${header.kernel}, begun ${timestamp(header.startedAt)}`,
    ],
    ['Runs', `${runs}${runs > 1 ? '; what follows is of the last one' : ''}`],
    [
      'Events',
      `${entries}, ${isMoment ? 'this moment is' : 'up to'} #${seq} ${timestamp(at)}${torn ? '; the last line was torn by a crash and is left out' : ''}`,
    ],
    ['Result', `${transitions} transitions, ${ops} ops, ${inFlight} of them without a result yet`],
    ['Machines', [`${machines} live`, ...byState]],
    [
      'Divergences',
      divergenceCount === 0 ? 'none: this build plans what the recording one did' : String(divergenceCount),
    ],
    [
      'Kernel',
      unlike.length === 0
        ? 'the simulated kernel has every row that the engine believes in'
        : [`differs in ${unlike.length} rows`, ...unlike.slice(0, SHOWN)],
    ],
    ['Digest', `sha256:${digest.total}`],
  ];
  if (faultCount > 0) facts.splice(3, 0, ['Faults', `${faultCount} lines are not as they should be; see above`]);
  const tables = Object.entries(digest.tables).map(([table, { rows, sha256 }]) => [table, rows, sha256]);
  return `${formatFacts(facts)}\n${formatTable(['TABLE', 'ROWS', 'SHA256'], tables)}`;
}

export function checkText({ violations, counts, plans, ops, prefixes, flows, dumps }: Checked, events: number): string {
  const rows = laws.map((law): Cell[] => [law, counts[law] === 0 ? 'held' : `BROKEN ${counts[law]} times`]);
  const what = `looked at ${events} events, ${plans} plans of ${ops} ops, ${prefixes} prefixes with ${flows} flows, ${dumps} dumps of all rows\n`;
  const lines = violations
    .slice(0, SHOWN)
    .map(({ run, seq, law, message }) => `${run > 1 ? `${run}:` : ''}#${seq} ${law}: ${message}\n`);
  const more = violations.length > SHOWN ? `… and more; -o json lists ${violations.length}\n` : '';
  return `${formatTable(['LAW', 'RESULT'], rows)}${what}${lines.join('')}${more}`;
}

export type { EventBrief };
