/** Which agent a verb talks to: one named by its socket, a node of an embedded cluster, or the one of this machine. */
import { existsSync } from 'node:fs';
import { type ClusterRecord, findCluster, runningClusters } from '../up/registry.ts';
import { UsageError } from '../usage.ts';
import { DebugClient } from './debug-client.ts';

/** Flags of every verb that asks an agent. */
export const targetFlags = { socket: 'PATH', name: 'CLUSTER', node: 'NODE', output: 'FORMAT' } as const;
export const targetUsage = `  --socket PATH     debug socket of the agent
  --name CLUSTER    of several embedded clusters, the one of this name
  --node NODE       of several nodes of a cluster, the one of this name
  -o json           as JSON`;

export type TargetFlags = { [Flag in keyof typeof targetFlags]?: string };

export const DEFAULT_SOCKET = '/var/lib/axoneme/debug.sock';

export async function clientFor(flags: TargetFlags): Promise<DebugClient> {
  const target = await targetOf(flags);
  return new DebugClient(typeof target === 'string' ? target : nodeOf(target, flags.node).debugSocket);
}

export interface NodeClient {
  /** '': the agent that was named by its socket, or the one of this machine. */
  node: string;
  client: DebugClient;
}

/** All nodes of a cluster, where none is chosen. */
export async function clientsFor(flags: TargetFlags): Promise<NodeClient[]> {
  const target = await targetOf(flags);
  if (typeof target === 'string') return [{ node: '', client: new DebugClient(target) }];
  if (flags.node === undefined && target.nodes.length > 1)
    return target.nodes.map(({ name, debugSocket }) => ({ node: name, client: new DebugClient(debugSocket) }));
  const { name, debugSocket } = nodeOf(target, flags.node);
  return [{ node: name, client: new DebugClient(debugSocket) }];
}

/** A socket, or a cluster whose nodes have one each. */
async function targetOf({ socket, name, node }: TargetFlags): Promise<string | ClusterRecord> {
  if (socket !== undefined) {
    if (name !== undefined || node !== undefined)
      throw new UsageError('flag --socket names the agent, so --name and --node have no place');
    if (!existsSync(socket)) throw new Error(`${socket}: no such socket`);
    return socket;
  }
  const wantsCluster = name !== undefined || node !== undefined || (await runningClusters()).length > 0;
  if (wantsCluster) return findCluster(name);
  if (existsSync(DEFAULT_SOCKET)) return DEFAULT_SOCKET;
  throw new Error(
    `no agent found: no embedded cluster is running and there is no ${DEFAULT_SOCKET}; start one with cli/axoneme up, or name a socket with --socket PATH`,
  );
}

export function nodeOf({ name, nodes }: ClusterRecord, wanted: string | undefined): ClusterRecord['nodes'][number] {
  const names = nodes.map((node) => node.name).join(', ');
  const found = wanted === undefined ? nodes : nodes.filter((node) => node.name === wanted);
  const [only, ...others] = found;
  if (!only) throw new Error(`cluster ${name} has no node ${wanted ?? ''}; it has ${names || 'none yet'}`);
  if (others.length > 0) throw new Error(`cluster ${name} has several nodes (${names}); choose one with --node`);
  return only;
}
