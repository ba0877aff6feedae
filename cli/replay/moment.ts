/** Answers about one moment of a replay: what is true after an event, or at the end. */

import { runsOf } from '../../cluster/recording-reader.ts';
import { endpointForms, endpointMatcher, endpointsOf } from '../../observe/endpoints.ts';
import { nearest } from '../../observe/nearest.ts';
import { entriesOf } from '../../observe/policy.ts';
import { type Account, accountOf, TransitionLog } from '../../simulations/replay/account.ts';
import { Checkpoints, usualDirectory } from '../../simulations/replay/checkpoints.ts';
import { playIndexed } from '../../simulations/replay/indexed.ts';
import type { Moment, Watcher } from '../../simulations/replay/moment.ts';
import { stopper } from '../../simulations/replay/source.ts';
import { differences, type Replayed, replayed } from '../../simulations/replay.ts';
import type { TableName } from '../../state/tables.ts';
import { print, printJson } from '../output/print.ts';
import type { Asked } from '../verbs/replay.ts';
import { Mistake } from './options.ts';
import { Progress } from './progress.ts';
import { tell } from './tell.ts';
import { accountText, summaryText } from './texts.ts';

export async function answerMoment(
  question: 'summary' | 'digest' | 'table' | 'machine' | 'endpoint',
  asked: Asked,
): Promise<number> {
  const { flags, isJson, until, played } = asked;
  const transitions = new TransitionLog();
  let last: { moment: Moment; account: () => Account } | undefined;
  const latest: Watcher = {
    onMoment(moment) {
      last = { moment, account: () => accountOf(moment, transitions.of(moment)) };
      return undefined;
    },
  };
  const done =
    flags.at === undefined ? await played([transitions, latest], until) : await playedTo(asked, [transitions, latest]);
  const account = flags.at === undefined ? undefined : last?.account();
  const place = { node: done.header.node, run: done.runs, seq: done.seq, at: done.at };
  switch (question) {
    case 'summary':
      if (isJson) printJson({ ...jsonOf(done), ...(account && { account }) });
      else print(`${account ? `${accountText(account)}\n` : ''}${summaryText(done, flags.at !== undefined)}`);
      break;
    case 'digest':
      if (isJson) printJson({ ...place, digest: done.digest });
      else print(`${done.digest.total}\n`);
      break;
    case 'table': {
      const table = flags.table as TableName;
      const rows = [...done.engine.actual(table)]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, value]) => ({ key, value }));
      if (isJson) printJson({ ...place, table, rows });
      else for (const row of rows) print(`${JSON.stringify(row)}\n`);
      break;
    }
    case 'machine':
      printJson({ ...place, ...machineIn(done, flags.machine ?? '') });
      break;
    case 'endpoint':
      printJson({ ...place, ...endpointIn(done, flags.endpoint ?? '') });
      break;
  }
  return tell(done, question === 'summary' ? 20 : 3);
}

/** From the nearest checkpoint, where there are some. */
async function playedTo(asked: Asked, watchers: readonly Watcher[]): Promise<Replayed> {
  const { source, until, played } = asked;
  const checkpoints = checkpointsFor(asked);
  const [recording = ''] = source.paths;
  if (!checkpoints || !until) return played(watchers, until);
  const stop = await stopper(source, until);
  const from = checkpoints.before(until, (await runsOf(recording)).length);
  const progress = process.stderr.isTTY ? new Progress(source.paths) : undefined;
  const all = [...watchers, stop, ...(progress ? [progress] : [])];
  const { player } = await playIndexed(recording, checkpoints, from, {
    lenient: source.lenient ?? false,
    watchers: all,
  });
  progress?.end();
  return replayed(player);
}

/** Undefined: this history has none. */
export function checkpointsFor({ source, flags }: Asked): Checkpoints | undefined {
  const [recording = ''] = source.paths;
  if (source.isKubectl || source.config) return undefined;
  return new Checkpoints(recording, flags.cache ?? usualDirectory(recording), source.lenient);
}

function machineIn({ engine }: Replayed, key: string): object {
  const found = engine.machine(key);
  if (found) return found;
  const near = nearest(
    key,
    engine.machines().map((machine) => machine.key),
  );
  throw new Error(
    `no machine has the key ${key} at this moment${near.length > 0 ? `; near it are ${near.join(', ')}` : ''}`,
  );
}

function endpointIn({ engine }: Replayed, text: string): object {
  const isMeant = endpointMatcher(/^[^:/]+\/[^:/]+$/.test(text) ? `pod-name:${text}` : text);
  if (!isMeant) throw new Mistake(`flag --endpoint is ${text}, expected NAMESPACE/POD, ${endpointForms.join(', ')}`);
  const endpoints = endpointsOf(engine);
  const found = endpoints.find(isMeant);
  if (found) return { ...found, policy: entriesOf(engine, found.id), details: engine.machine(found.machine) };
  throw new Error(
    `no endpoint is ${text} at this moment; there are ${endpoints.flatMap(({ pod }) => pod || []).join(', ') || 'none'}`,
  );
}

function jsonOf({ engine, kernel, ...facts }: Replayed): object {
  return { ...facts, stats: engine.stats(), kernelDifferences: differences(engine, kernel) };
}
