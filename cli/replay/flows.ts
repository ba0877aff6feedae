/** `replay --flows`: when did this connection stop working, and by what? */
import { readFileSync } from 'node:fs';
import { FlowWatch } from '../../simulations/replay/flows.ts';
import { print, printJson } from '../output/print.ts';
import { parseFlows } from '../policy/flows.ts';
import { UsageError } from '../usage.ts';
import type { Asked } from '../verbs/replay.ts';
import { flowsText } from './flow-text.ts';
import { tell } from './tell.ts';

export async function answerFlows({ flags, isJson, until, played }: Asked): Promise<number> {
  const path = flags.flows ?? '';
  const watch = new FlowWatch(parseFlows(textOf(path), path));
  const replayed = await played([watch], until);
  if (isJson)
    printJson({
      node: replayed.header.node,
      runs: replayed.runs,
      seq: replayed.seq,
      at: replayed.at,
      flows: watch.histories,
    });
  else print(flowsText(watch.histories, replayed.at, flags.at !== undefined));
  return tell(replayed, 3);
}

function textOf(path: string): string {
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    throw new UsageError(`flag --flows ${path}: ${error instanceof Error ? error.message : error}`);
  }
}
