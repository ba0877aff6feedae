/** The other nodes as this one finds them: state, addresses, and what each probe of them said last. */
import type { RemoteNodeContext } from '../machines/remote-node-context.ts';
import type { ProbeState } from '../reconcilers/drivers/health-probes.ts';
import type { HealthProbeRow } from '../state/tables.ts';
import type { DebugSources } from './debug/sources.ts';

export interface ProbeView extends Pick<HealthProbeRow, 'target' | 'protocol' | 'address' | 'port'> {
  status: 'reachable' | 'unreachable' | 'unknown';
  /** Why there was no good answer. */
  error?: string;
  latencyMs?: number;
  probedAt?: string;
}
export interface NodeView {
  name: string;
  /** Of its machine: discovered, routed, reachable, unreachable, unroutable, failing. */
  state: string;
  /** The end of tunnels and encryption, where probes go. */
  address: string;
  podCidrs: readonly string[];
  problems: readonly string[];
  probes: ProbeView[];
}
export interface NodesView {
  /** Who is asked. */
  node: string;
  nodes: NodeView[];
}

export function nodesOf({ inspector, agent, health }: DebugSources): NodesView {
  const byNode = Map.groupBy(health?.probes() ?? [], ({ row }) => row.node);
  const nodes = inspector
    .machines()
    .filter(({ kind, state }) => kind === 'remote-node' && state !== 'own')
    .map(({ context, state }): NodeView => {
      const { name, route, problems } = context as RemoteNodeContext;
      return {
        ...{ name, state, problems },
        address: route?.remote ?? '',
        podCidrs: route?.podCidrs ?? [],
        probes: (byNode.get(name) ?? []).map(probeView),
      };
    });
  return { node: agent.nodeName, nodes: nodes.sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true })) };
}

function probeView({ row, error, latencyMs, probedAt }: ProbeState): ProbeView {
  const { target, protocol, address, port } = row;
  const status = error === undefined ? 'unknown' : error === '' ? 'reachable' : 'unreachable';
  return {
    ...{ target, protocol, address, port, status },
    ...(error && { error }),
    ...(status === 'reachable' && { latencyMs: Number(latencyMs.toFixed(3)) }),
    ...(probedAt > 0 && { probedAt: new Date(probedAt).toISOString() }),
  };
}

/** One answer is enough; nobody who was not asked is unreachable. */
export function reached(probes: readonly ProbeView[], target: ProbeView['target']): ProbeView['status'] {
  const said = probes.filter((probe) => probe.target === target).map(({ status }) => status);
  if (said.includes('reachable')) return 'reachable';
  return said.length > 0 && said.every((status) => status === 'unreachable') ? 'unreachable' : 'unknown';
}
