/** `axoneme machines list|get|watch|diagram`: the state machines that drive the node. */
import type { MachineView, OpRecord, RowView, Transition } from '../../reconcilers/inspect.ts';
import { chosen, noPositionals, required } from '../output/arguments.ts';
import { type Colours, coloursFor } from '../output/colours.ts';
import { clientFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { clock, print, printJson, timestamp, wantsJson } from '../output/print.ts';
import { formatFacts, formatTable } from '../output/table.ts';
import { parseArguments } from '../usage.ts';

export const summary = 'the state machines of a node';
export const usage = `axoneme machines list [--kind KIND] [--state STATE] [-o json]
axoneme machines get MACHINE [-o json]
axoneme machines watch [MACHINE] [-o json]
axoneme machines diagram [KIND]
${targetUsage}`;

type Listed = Omit<MachineView, 'context'>;
type Detailed = MachineView & { history: Transition[]; pending: (RowView & { op?: OpRecord })[] };

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, { ...targetFlags, kind: 'KIND', state: 'STATE' });
  const [word, name, ...rest] = positionals;
  const action = chosen('action', word, ['list', 'get', 'watch', 'diagram']);
  noPositionals(action === 'list' ? positionals.slice(1) : rest);
  const isJson = wantsJson(flags.output);
  const colours = coloursFor(process.stdout);
  const query = new URLSearchParams({
    ...(flags.kind && { kind: flags.kind }),
    ...(flags.state && { state: flags.state }),
  });
  if (action === 'get') required('MACHINE', name);
  const client = await clientFor(flags);
  switch (action) {
    case 'list': {
      const machines = await client.get<Listed[]>(`/v1/machines?${query}`);
      if (isJson) printJson(machines);
      else print(listText(machines, colours));
      return 0;
    }
    case 'get': {
      const machine = await client.get<Detailed>(`/v1/machines/${encodeURIComponent(name ?? '')}`);
      if (isJson) printJson(machine);
      else print(machineText(machine, colours));
      return 0;
    }
    case 'watch': {
      const path = `/v1/transitions?follow${name ? `&machine=${encodeURIComponent(name)}` : ''}`;
      for await (const line of client.follow<Transition>(path)) {
        if (isJson) print(`${JSON.stringify(line)}\n`);
        else
          print(
            `${'dropped' in line ? `… ${line.dropped} transitions were too fast to be shown` : transitionText(line)}\n`,
          );
      }
      return 0;
    }
    case 'diagram': {
      const kinds = name ? [{ name }] : await client.get<{ name: string }[]>('/v1/kinds');
      for (const kind of kinds) {
        if (kinds.length > 1) print(`%% ${kind.name}\n`);
        print(await client.text(`/v1/kinds/${encodeURIComponent(kind.name)}.mmd`));
      }
      return 0;
    }
  }
}

export function listText(machines: readonly Listed[], { red, yellow }: Colours): string {
  const rows = machines.map(({ key, kind, state, rows: owned, last }) => {
    const failed = owned.filter((row) => row.state === 'failed').length;
    const open = owned.filter((row) => row.state !== 'in-sync').length - failed;
    const notes = [open > 0 && yellow(`${open} pending`), failed > 0 && red(`${failed} failed`)].filter(
      (note) => note !== false,
    );
    return [
      kind,
      state,
      `${owned.length}${notes.length > 0 ? ` (${notes.join(', ')})` : ''}`,
      last ? timestamp(last.cause.at) : '',
      key,
    ];
  });
  return formatTable(['KIND', 'STATE', 'ROWS', 'SINCE', 'MACHINE'], rows);
}

function machineText({ key, state, context, topics, rows, history, pending }: Detailed, colours: Colours): string {
  const facts = formatFacts([
    ['machine', key],
    ['state', state],
    ['topics', topics],
    ['context', JSON.stringify(context, null, 2).split('\n')],
  ]);
  const owned = formatTable(
    ['TABLE', 'KEY', 'STATE'],
    rows.map((row) => [row.table, row.key, row.state === 'failed' ? colours.red(row.state) : row.state]),
  );
  const unfinished = pending.map(
    ({ table, key: row, state: its, error }) =>
      `  ${table} ${row}: ${its}${error ? `, ${error.errno}: ${error.message}` : ''}\n`,
  );
  const past = history.map((one) => `  ${transitionText(one)}\n`);
  return [
    facts,
    '\n',
    owned,
    unfinished.length > 0 ? `\nunfinished\n${unfinished.join('')}` : '',
    '\nhistory\n',
    ...past,
  ].join('');
}

function transitionText({ machine, from, to, on, cause }: Transition): string {
  const moved = from === '' ? `born ${to}` : to === '' ? `ended, was ${from}` : `${from} → ${to}`;
  return `${clock(cause.at)} ${machine} ${moved} on ${on}, by #${cause.seq} ${cause.type} ${cause.subject}`;
}
