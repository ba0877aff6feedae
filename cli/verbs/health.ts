/** `axoneme health status`: which other nodes, and their health endpoints, answer this one. */
import type { NodesView } from '../../observe/remote-nodes.ts';
import { noPositionals } from '../output/arguments.ts';
import { coloursFor } from '../output/colours.ts';
import { clientFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { print, printJson, wantsJson } from '../output/print.ts';
import { clusterHealth, nodesText } from '../output/remote-nodes.ts';
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
    const colours = coloursFor(process.stdout);
    const health = clusterHealth(view, colours);
    print(`Seen from ${view.node}${health && `: ${health}`}\n\n`);
    print(nodesText(view, colours));
  }
  return view.nodes.some(({ state }) => state === 'unreachable') ? 1 : 0;
}
