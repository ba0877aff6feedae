/** `replay --diff`: two recordings, or one recording under two configurations or two builds. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import {
  differingRows,
  eachOp,
  type FirstDifference,
  type OpAt,
  OpFinder,
  OpNumbers,
  opAt,
  opText,
  type RowDifference,
  type RowsOf,
} from '../../simulations/replay/diff.ts';
import { play, type Source, sourceOf, type Until } from '../../simulations/replay/source.ts';
import type { Replayed } from '../../simulations/replay.ts';
import { canonical } from '../../state/tables.ts';
import { print, printJson } from '../output/print.ts';
import { type Cell, formatFacts, formatTable } from '../output/table.ts';
import type { Asked } from '../verbs/replay.ts';
import { configFrom } from './options.ts';
import { otherBuild } from './other-build.ts';
import { tell } from './tell.ts';
import { changeText, eventText } from './texts.ts';

interface Compared {
  one: string;
  other: string;
  first: FirstDifference | undefined;
  rows: RowDifference[];
}

const SHOWN = 40;
const isRecording = (path: string): boolean =>
  statSync(path).isDirectory() || sourceOf([path]).isKubectl || path.includes('.ndjson');

export async function answerDiff({ source, flags, isJson, until, played }: Asked): Promise<number> {
  const path = flags.diff ?? '';
  if (!existsSync(path))
    throw new Error(`${path}: no such file or directory, expected a recording, a build, or a configuration`);
  const compared = existsSync(join(path, 'cli', 'axoneme'))
    ? await compareBuilds(path, source, until, played)
    : await compareSources(...sourcesFor(path, source, flags.config !== undefined), until);
  if (isJson) printJson({ same: isSame(compared), ...compared });
  else print(textOf(compared));
  return isSame(compared) ? 0 : 1;
}

const isSame = ({ first, rows }: Compared): boolean => first === undefined && rows.length === 0;

/** Under `--config` it is the other one that is configured so; both are then played against the simulated kernel, like against like. */
function sourcesFor(path: string, { config, ...source }: Source, isConfigured: boolean): [Source, Source] {
  if (isRecording(path)) {
    const other: Source = {
      ...sourceOf([path]),
      ...(source.node !== undefined && { node: source.node }),
      ...(source.lenient && { lenient: true }),
    };
    return isConfigured
      ? [
          { ...source, config: {} },
          { ...other, config: config ?? {} },
        ]
      : [source, other];
  }
  return [
    { ...source, config: {} },
    { ...source, config: configFrom(path) },
  ];
}

async function compareSources(one: Source, other: Source, until: Until | undefined): Promise<Compared> {
  const numbers = new OpNumbers();
  const here = await play(one, [eachOp((op) => void numbers.add(opText(op)))], until);
  let count = 0;
  let first: FirstDifference | undefined;
  const there = await play(
    other,
    [
      eachOp((op, moment) => {
        if (!first && !numbers.has(count, opText(op)))
          first = { index: count, one: undefined, other: opAt(op, moment) };
        count++;
        return undefined;
      }),
    ],
    until,
  );
  if (!first && count < numbers.count) first = { index: count, one: undefined, other: undefined };
  if (first) first.one = await opOf(one, first.index, until);
  for (const replayed of [here, there]) tell(replayed, 3);
  return { one: nameOf(one), other: nameOf(other), first, rows: differingRows(rowsIn(here), rowsIn(there)) };
}

async function compareBuilds(
  path: string,
  source: Source,
  until: Until | undefined,
  played: Asked['played'],
): Promise<Compared> {
  const build = otherBuild(path, source, until);
  const numbers = new OpNumbers();
  const here = await played([eachOp((op) => void numbers.add(opText(op)))], until);
  let index = 0;
  let first: FirstDifference | undefined;
  for await (const { text, at } of build.ops()) {
    if (!numbers.has(index, text)) {
      first = { index, one: undefined, other: at };
      break;
    }
    index++;
  }
  if (!first && index < numbers.count) first = { index, one: undefined, other: undefined };
  if (first) first.one = await opOf(source, first.index, until);
  const theirs = await build.rows(Object.keys(here.digest.tables));
  const rows = differingRows(rowsIn(here), (table) => theirs.get(table) ?? new Map());
  return { one: 'this build', other: path, first, rows };
}

async function opOf(source: Source, index: number, until: Until | undefined): Promise<OpAt | undefined> {
  const finder = new OpFinder(index);
  await play(source, [finder], until);
  return finder.found;
}

const rowsIn =
  ({ engine }: Replayed): RowsOf =>
  (table) =>
    engine.actual(table);
const nameOf = ({ paths, config }: Source): string =>
  `${paths.join(' ')}${config && Object.keys(config).length > 0 ? ` with ${canonical(config)}` : ''}`;

function textOf({ one, other, first, rows }: Compared): string {
  const facts: [string, Cell][] = [
    ['One', one],
    ['Other', other],
  ];
  if (first) {
    const side = (at: FirstDifference['one']): Cell =>
      at ? [opText(at.op), eventText(at.event)] : 'plans nothing more';
    facts.push(
      ['First difference', `op ${first.index + 1}`],
      ['  one', side(first.one)],
      ['  other', side(first.other)],
    );
  } else facts.push(['First difference', 'none: the same ops in the same order']);
  const counts = new Map<string, number>();
  for (const { table } of rows) counts.set(table, (counts.get(table) ?? 0) + 1);
  facts.push([
    'Rows at the end',
    rows.length === 0
      ? 'the same'
      : `${rows.length} differ: ${[...counts].map(([table, count]) => `${count} of ${table}`).join(', ')}`,
  ]);
  const text = formatFacts(facts);
  if (rows.length === 0) return text;
  const lines = rows.slice(0, SHOWN).map(({ table, key, one: x, other: y }): Cell[] => [table, key, changeText(x, y)]);
  const more = rows.length > SHOWN ? `… and ${rows.length - SHOWN} more; -o json lists all\n` : '';
  return `${text}\n${formatTable(['TABLE', 'KEY', 'ONE → OTHER'], lines)}${more}`;
}
