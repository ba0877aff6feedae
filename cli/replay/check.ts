/** `replay --check`: every law of the design, held against every moment. */
import { Check } from '../../simulations/replay/check.ts';
import { print, printJson } from '../output/print.ts';
import type { Asked } from '../verbs/replay.ts';
import { tell } from './tell.ts';
import { checkText } from './texts.ts';

export async function answerCheck({ isJson, until, played }: Asked): Promise<number> {
  const check = new Check();
  let events = 0;
  const counter = {
    onMoment(): undefined {
      events++;
    },
  };
  const replayed = await played([check, counter], until);
  check.end();
  const { violations } = check.result;
  if (isJson) printJson({ ok: violations.length === 0, node: replayed.header.node, events, ...check.result });
  else print(checkText(check.result, events));
  const code = tell(replayed, 3);
  return violations.length > 0 ? 1 : code;
}
