/** `axoneme node list|get`: this node and the others, and how they are reached. */
import type { ClusterNodeView } from '../../observe/cluster-nodes.ts';
import { chosen, noPositionals, required } from '../output/arguments.ts';
import { clientFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { print, printJson, wantsJson } from '../output/print.ts';
import { type Cell, formatTable } from '../output/table.ts';
import { parseArguments } from '../usage.ts';

export const summary = 'nodes of the cluster, as a node reaches them';
export const usage = `axoneme node list [-o json]
axoneme node get NAME [-o json]
${targetUsage}`;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, targetFlags);
  const [word, ...rest] = positionals;
  const action = chosen('action', word, ['list', 'get']);
  const isJson = wantsJson(flags.output);
  const name = action === 'get' ? required('NAME', rest[0]) : undefined;
  noPositionals(rest.slice(name === undefined ? 0 : 1));
  const all = await (await clientFor(flags)).get<ClusterNodeView[]>('/v1/nodes');
  const found = name === undefined ? all : all.filter((node) => node.name === name);
  if (name !== undefined && found.length === 0)
    throw new Error(`no node is ${name}; known are ${all.map((node) => node.name).join(', ')}`);
  if (isJson) printJson(name === undefined ? found : found[0]);
  else print(nodesText(found));
  return 0;
}

export function nodesText(nodes: readonly ClusterNodeView[]): string {
  const rows = nodes.map((node): Cell[] => [
    node.own ? `${node.name} (this)` : node.name,
    node.state,
    [...node.addresses],
    [...node.podCidrs],
    node.tunnelEndpoint || '-',
    encryptionText(node),
    node.own ? '-' : node.podAddresses,
    [...node.reasons],
  ]);
  return formatTable(['NAME', 'STATE', 'ADDRESSES', 'POD CIDRS', 'TUNNEL', 'ENCRYPTION', 'PODS', 'REASON'], rows);
}

function encryptionText({ encryption: { type, keyId, publicKey, state } }: ClusterNodeView): string[] {
  if (type === 'none') return ['-'];
  const key = type === 'ipsec' && keyId > 0 ? [`key ${keyId}`] : publicKey ? [publicKey] : [];
  return [`${type} ${state}`, ...key];
}
