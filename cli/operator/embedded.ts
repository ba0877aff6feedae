/** The operator of an embedded cluster, in the process of `axoneme up`. */
import type { Operator } from './operator.ts';

export async function startEmbeddedOperator(kubeconfigText: string, log: (line: string) => void): Promise<Operator> {
  await import('../agent/lean-client.ts');
  const { KubeConfig } = await import('@kubernetes/client-node');
  const { startOperator } = await import('./operator.ts');
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromString(kubeconfigText);
  const times = { leaseMs: 15_000, sweepIntervalMs: 900_000, policyIntervalMs: 1_000, graceMs: 1_800_000 };
  return startOperator({ kubeConfig, holder: `up_${process.pid}`, namespace: 'kube-system', ...times, log });
}
