/** Verdicts over time, for people: what changed when, by what, and which outages there were. */
import { type Because, type FlowChange, type FlowHistory, textOfEnd } from '../../simulations/replay/flows.ts';
import { duration, timestamp } from '../output/print.ts';
import { formatTable } from '../output/table.ts';
import { changeText, eventText } from './texts.ts';

const SHOWN = 40;
const OUTAGES_SHOWN = 10;

/** `endAt`: the last event's time. */
export function flowsText(histories: readonly FlowHistory[], endAt: number, isMoment: boolean): string {
  return histories.map((history) => flowText(history, endAt, isMoment)).join('\n');
}

function flowText(
  { flow: { id, from, to, protocol, port }, changes, count }: FlowHistory,
  endAt: number,
  isMoment: boolean,
): string {
  const shown = isMoment ? changes.slice(-1) : changes.slice(-SHOWN);
  const left = count > shown.length && !isMoment ? `  (the last ${shown.length} of ${count} changes)\n` : '';
  const rows = shown.map((change) => {
    const before = changes[changes.indexOf(change) - 1];
    const isLoss = before?.verdict === 'allowed' || (isMoment && change.verdict !== 'allowed');
    // At first there is nothing at all.
    if (change.verdict === 'absent' && !before && !isMoment)
      return [timestamp(change.at), nameOf(change), 'ABSENT', change.reason];
    const why = isLoss ? becauseLines(change.because, change.at) : [`by ${eventText(change.because.event)}`];
    return [
      timestamp(change.at),
      nameOf(change),
      change.verdict.toUpperCase(),
      [...(change.reason ? [change.reason] : []), ...why],
    ];
  });
  const table = formatTable(['TIME', 'EVENT', 'VERDICT', 'WHY'], rows).replaceAll(/^(?=.)/gm, '  ');
  return `flow ${id}: ${textOfEnd(from)} → ${textOfEnd(to)} ${port}/${protocol}\n${left}${table}${isMoment ? '' : outagesText(changes, endAt)}`;
}

const nameOf = ({ run, seq }: FlowChange): string => (run > 1 ? `${run}:#${seq}` : `#${seq}`);

/** The answer to the question that one has at night. */
function outagesText(changes: readonly FlowChange[], endAt: number): string {
  const last = changes.at(-1);
  const lines: string[] = [];
  changes.forEach((change, i) => {
    if (change.verdict === 'allowed' || changes[i - 1]?.verdict !== 'allowed') return;
    const again = changes.slice(i).find(({ verdict }) => verdict === 'allowed');
    const how = again
      ? again.at > change.at
        ? `for ${duration(again.at - change.at)}`
        : 'for some time'
      : `until the end, ${duration(endAt - change.at)} later`;
    lines.push(`  stopped working at ${timestamp(change.at)} ${how}: ${eventText(change.because.event)}\n`);
  });
  if (lines.length > OUTAGES_SHOWN)
    lines.splice(0, lines.length - OUTAGES_SHOWN, `  … ${lines.length - OUTAGES_SHOWN} times before\n`);
  if (!last) return '  nothing in the recording is about it\n';
  if (!changes.some(({ verdict }) => verdict === 'allowed')) lines.push(`  never worked: ${last.reason}\n`);
  else if (last.verdict === 'allowed') lines.push(lines.length > 0 ? '  works at the end\n' : '  works from then on\n');
  return lines.join('');
}

function becauseLines({ event, row, machine, transition, seen }: Because, at: number): string[] {
  const lines = [
    `event    ${eventText(event)}${seen.at === event.at ? '' : `, done ${duration(at - event.at)} later`}`,
  ];
  if (machine !== undefined) {
    const change =
      transition &&
      (transition.from === transition.to
        ? `in ${transition.to}`
        : `${transition.from || 'born'} → ${transition.to || 'ended'}`);
    lines.push(`machine  ${machine}${change ? `: ${change} (${transition?.on})` : ''}`);
  }
  if (row) lines.push(`row      ${row.table} ${row.key}: ${changeText(row.before, row.value)}`);
  return lines;
}
