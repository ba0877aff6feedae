/** Other nodes as metrics, with Cilium's names. */
import { Gauge, Histogram, type Registry } from 'prom-client';
import { nodeKey } from '../../machines/node.ts';
import type { DebugSources } from '../debug/sources.ts';
import { nodesOf, reached } from '../remote-nodes.ts';

const BUCKETS_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5];
const targets = ['node', 'endpoint'] as const;

export function healthMetrics(registry: Registry, sources: DebugSources): void {
  if (!sources.health) return;
  const registers = [registry];
  const sourceLabels = { source_node_name: sources.agent.nodeName };
  const clusterOf = (): { source_cluster: string } => {
    const context = sources.inspector.machine(nodeKey)?.context as { agent?: { clusterName: string } } | undefined;
    return { source_cluster: context?.agent?.clusterName ?? '' };
  };
  const counted = (target: (typeof targets)[number]): Map<string, number> => {
    const counts = new Map([
      ['reachable', 0],
      ['unreachable', 0],
      ['unknown', 0],
    ]);
    for (const { probes } of nodesOf(sources).nodes) {
      const status = reached(probes, target);
      counts.set(status, (counts.get(status) ?? 0) + 1);
    }
    return counts;
  };

  new Gauge({
    name: 'cilium_node_health_connectivity_status',
    help: 'Other nodes by what the last probes of them said',
    labelNames: ['source_cluster', 'source_node_name', 'type', 'status'],
    registers,
    collect() {
      this.reset();
      for (const type of targets)
        for (const [status, count] of counted(type)) this.set({ ...clusterOf(), ...sourceLabels, type, status }, count);
    },
  });
  for (const [name, help, target] of [
    ['cilium_unreachable_nodes', 'Other nodes that do not answer', 'node'],
    ['cilium_unreachable_health_endpoints', 'Health endpoints of other nodes that do not answer', 'endpoint'],
  ] as const) {
    new Gauge({
      ...{ name, help, registers },
      collect() {
        this.set(counted(target).get('unreachable') ?? 0);
      },
    });
  }
  const latency = new Histogram({
    name: 'cilium_node_health_connectivity_latency_seconds',
    help: 'From a probe to its answer',
    labelNames: ['source_cluster', 'source_node_name', 'type', 'protocol', 'address_type'],
    buckets: BUCKETS_SECONDS,
    registers,
  });
  sources.health.onAnswer(({ target: type, protocol }, latencyMs) => {
    const labels = { type, protocol: protocol === 'TCP' ? 'http' : 'icmp', address_type: 'primary' };
    latency.observe({ ...clusterOf(), ...sourceLabels, ...labels }, latencyMs / 1_000);
  });
}
