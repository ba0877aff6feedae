/** `axoneme identity list|get`: numbers and the label sets behind them. */
import type { IdentityView } from '../../observe/endpoints.ts';
import { chosen, noPositionals, required } from '../output/arguments.ts';
import { clientFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { labelText, print, printJson, wantsJson } from '../output/print.ts';
import { formatTable } from '../output/table.ts';
import { parseArguments, wholeNumber } from '../usage.ts';

export const summary = 'identities that a node knows';
export const usage = `axoneme identity list [-o json]
axoneme identity get ID [-o json]
${targetUsage}`;

const NUMBER_MAX = 0xffffff;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, targetFlags);
  const [word, ...rest] = positionals;
  const action = chosen('action', word, ['list', 'get']);
  const isJson = wantsJson(flags.output);
  const wanted = action === 'get' ? wholeNumber('ID', required('ID', rest[0]), 0, NUMBER_MAX) : undefined;
  noPositionals(rest.slice(wanted === undefined ? 0 : 1));
  const all = await (await clientFor(flags)).get<IdentityView[]>('/v1/identities');
  const found = wanted === undefined ? all : all.filter(({ id }) => id === wanted);
  if (wanted !== undefined && found.length === 0) {
    throw new Error(`no endpoint of this node has identity ${wanted}; known are ${all.map(({ id }) => id).join(', ')}`);
  }
  if (isJson) printJson(wanted === undefined ? found : found[0]);
  else
    print(
      formatTable(
        ['ID', 'LABELS (source:key[=value])'],
        found.map(({ id, labels }) => [id, labels.map(labelText)]),
      ),
    );
  return 0;
}
