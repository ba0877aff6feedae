/** `axoneme health status`: which other nodes, and their health endpoints, answer this one. */
import type { NodesView } from '../../observe/remote-nodes.ts';
import { noPositionals } from '../output/arguments.ts';
import { coloursFor } from '../output/colours.ts';
import { clientFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { print, printJson, wantsJson } from '../output/print.ts';
import { nodesText } from '../output/remote-nodes.ts';
import { meant, parseArguments, UsageError } from '../usage.ts';

export const summary = 'which other nodes answer this one';
export const usage = `axoneme health status [--socket PATH | --name CLUSTER --node NODE] [-o json]
${targetUsage}

Exit code 1 when a node does not answer.`;

const ACTIONS = ['status'];

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, targetFlags);
  const [action = 'status', ...more] = positionals;
  if (!ACTIONS.includes(action))
    throw new UsageError(`unknown action ${action}${meant(action, ACTIONS)}; known are ${ACTIONS.join(', ')}`);
  noPositionals(more);
  const isJson = wantsJson(flags.output);
  const view = await (await clientFor(flags)).get<NodesView>('/v1/health/nodes');
  if (isJson) printJson(view);
  else {
    print(`Seen from ${view.node}\n\n`);
    print(nodesText(view, coloursFor(process.stdout)));
  }
  return view.nodes.some(({ state }) => state === 'unreachable') ? 1 : 0;
}
