/** `axoneme explain TABLE KEY`: why a row is there, from the event that wanted it to the op that made it. */
import type { ExplainView } from '../../observe/debug/table-routes.ts';
import { isTableName, tableNames } from '../../state/tables.ts';
import { noPositionals, required } from '../output/arguments.ts';
import { clientFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { explanationText } from '../output/explanation.ts';
import { print, printJson, wantsJson } from '../output/print.ts';
import { meant, parseArguments, UsageError } from '../usage.ts';

export const summary = 'why a row is in the kernel';
export const usage = `axoneme explain TABLE KEY [-o json]

TABLE is ${tableNames.join(', ')}
KEY is as \`axoneme bpf\` and the debug endpoint show it: 10.0.1.5/32, lxc0123/ingress, …
${targetUsage}`;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, targetFlags);
  const [table, key, ...rest] = positionals;
  noPositionals(rest);
  if (!isTableName(required('TABLE', table))) {
    throw new UsageError(
      `no table is named ${table}${meant(table ?? '', tableNames)}; known are ${tableNames.join(', ')}`,
    );
  }
  const path = `/v1/explain/${table}/${encodeURIComponent(required('KEY', key))}`;
  const isJson = wantsJson(flags.output);
  const explanation = await (await clientFor(flags)).get<ExplainView>(path);
  if (isJson) printJson(explanation);
  else print(explanationText(explanation));
  return 0;
}
