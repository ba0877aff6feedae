/** `replay --flows`: when did this connection stop working, and by what? */
import { readFileSync } from 'node:fs';
import type { Flow } from '../../simulations/policy-oracle/flow.ts';
import { FlowWatch } from '../../simulations/replay/flows.ts';
import { print, printJson } from '../output/print.ts';
import { FlowsInvalid, parseFlows } from '../policy/flows.ts';
import type { Asked } from '../verbs/replay.ts';
import { flowsText } from './flow-text.ts';
import { Mistake } from './options.ts';
import { tell } from './tell.ts';

export async function answerFlows({ flags, isJson, until, played }: Asked): Promise<number> {
  const path = flags.flows ?? '';
  const watch = new FlowWatch(flowsIn(path));
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

function flowsIn(path: string): Flow[] {
  try {
    return parseFlows(textOf(path), path);
  } catch (error) {
    if (error instanceof FlowsInvalid) throw new Mistake(`flag --flows ${error.message}`);
    throw error;
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    throw new Mistake(`flag --flows ${path}: ${error instanceof Error ? error.message : error}`);
  }
}
