/**
 * Identities of other nodes that policies tell by their labels: one each, from the node's number on this node
 * (reference/identities-and-labels.md, scope of remote nodes).
 *
 * - Only where the configuration asks for it; else all other nodes are `remote-node`.
 */
import type { IdentityLabels } from '../policy/change.ts';
import { localIdentity } from '../policy/local-scope.ts';
import { nodeIdentityLabels } from '../policy/resolver.ts';
import type { RemoteNodeContext } from './remote-node-context.ts';

/** Published by the machines of other nodes, heard by that of policy. */
export const nodeIdentitiesTopic = 'policy/node-identities';
export interface NodeIdentityFact {
  identity: number;
  labels: IdentityLabels;
}

/** Undefined: it has none of its own. */
export function ownIdentityOf({ agent, standing }: RemoteNodeContext): number | undefined {
  if (!agent?.policy?.nodeSelectorLabels || !standing?.id) return undefined;
  return localIdentity.ofNode(standing.id);
}

export function nodeIdentityOf(context: RemoteNodeContext): NodeIdentityFact | undefined {
  const identity = ownIdentityOf(context);
  const { route, apiServers, views } = context;
  if (identity === undefined || !route) return undefined;
  const isApiServer = apiServers.some((address) => route.addresses.includes(address));
  const labels = (views.nodes ?? views.ciliumnodes)?.labels ?? {};
  return { identity, labels: nodeIdentityLabels(labels, isApiServer) };
}
