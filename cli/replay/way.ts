/** Answers about the way of a replay: its ops, a machine's transitions, the first event after which something is true. */
import { nearest } from '../../observe/nearest.ts';
import { TransitionLog } from '../../simulations/replay/account.ts';
import { BreakOn } from '../../simulations/replay/break-on.ts';
import { ExpressionError } from '../../simulations/replay/expression.ts';
import { Follow } from '../../simulations/replay/follow.ts';
import { opWatcher } from '../../simulations/replay.ts';
import { print, printJson } from '../output/print.ts';
import type { Asked } from '../verbs/replay.ts';
import { Mistake } from './options.ts';
import { tell } from './tell.ts';
import { accountText, followText, opLine } from './texts.ts';

export async function answerWay(question: 'ops' | 'follow' | 'break-on', asked: Asked): Promise<number> {
  switch (question) {
    case 'ops': {
      const { isJson, until, played } = asked;
      return tell(
        await played([opWatcher((planned) => print(isJson ? `${JSON.stringify(planned)}\n` : opLine(planned)))], until),
      );
    }
    case 'follow':
      return follow(asked);
    case 'break-on':
      return breakOn(asked);
  }
}

async function follow({ flags, isJson, until, played }: Asked): Promise<number> {
  const transitions = new TransitionLog();
  const pattern = flags.follow ?? '';
  const watcher = new Follow(pattern, transitions, (followed) =>
    print(isJson ? `${JSON.stringify(followed)}\n` : followText(followed)),
  );
  const replayed = await played([transitions, watcher], until);
  if (watcher.count === 0) {
    const near = nearest(pattern, watcher.keys);
    const hint = near.length > 0 ? near : [...watcher.keys].slice(0, 10);
    throw new Error(
      `no machine is ${pattern} in this recording; there are ${hint.join(', ')}${watcher.keys.size > hint.length ? ', …' : ''}`,
    );
  }
  return tell(replayed, 3);
}

async function breakOn({ flags, isJson, until, played }: Asked): Promise<number> {
  const transitions = new TransitionLog();
  const watcher = breakOnOf(flags['break-on'] ?? '', transitions);
  const replayed = await played([transitions, watcher], until);
  tell(replayed, 3);
  if (isJson) printJson(watcher.found ?? null);
  else if (watcher.found) print(accountText(watcher.found));
  else
    process.stderr.write(
      `never became true in ${replayed.entries} events${replayed.runs > 1 ? ' of the last run, nor before' : ''}\n`,
    );
  return watcher.found ? 0 : 1;
}

function breakOnOf(text: string, transitions: TransitionLog): BreakOn {
  try {
    return new BreakOn(text, transitions);
  } catch (error) {
    if (error instanceof ExpressionError) throw new Mistake(`flag --break-on: ${error.message}`);
    throw error;
  }
}
