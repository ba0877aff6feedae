/** `axoneme operator`: duties of the whole cluster; several may run, one of them leads. */
import { hostname } from 'node:os';
import { listenTrouble } from '../hubble-config.ts';
import type { Operator } from '../operator/operator.ts';
import { noPositionals } from '../output/arguments.ts';
import { parseArguments, UsageError, wholeNumber } from '../usage.ts';
import { version } from '../version.ts';

export const summary =
  'run the cluster-wide duties: identities that nobody uses are collected, policies say where they are in force';
export const usage = `axoneme operator [--kubeconfig FILE] [--namespace NAME] [--sweep-interval SECONDS] [--grace SECONDS] [--lease SECONDS]
                         [--metrics HOST:PORT]

  --kubeconfig FILE          how to reach the API server (default: as a pod of the cluster)
  --namespace NAME           of the Lease by which one of several leads (default kube-system)
  --sweep-interval SECONDS   between two looks at all identities (default 900)
  --grace SECONDS            an identity goes when nobody has used it for so long (default 1800)
  --lease SECONDS            after so long without renewal another leads (default 15)
  --metrics HOST:PORT        metrics for Prometheus`;

const DAY_SECONDS = 86_400;
const POLICY_INTERVAL_MS = 5_000;
const spec = {
  kubeconfig: 'FILE',
  namespace: 'NAME',
  'sweep-interval': 'SECONDS',
  grace: 'SECONDS',
  lease: 'SECONDS',
  metrics: 'HOST:PORT',
} as const;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, spec);
  noPositionals(positionals);
  const ms = (flag: 'sweep-interval' | 'grace' | 'lease', usual: number): number =>
    1000 * wholeNumber(flag, flags[flag] ?? String(usual), 1, DAY_SECONDS);
  const [sweepIntervalMs, graceMs, leaseMs] = [ms('sweep-interval', 900), ms('grace', 1800), ms('lease', 15)];
  const trouble = listenTrouble('--metrics', flags.metrics ?? '');
  if (trouble) throw new UsageError(trouble.replace('field', 'flag'));
  await import('../agent/lean-client.ts');
  const { KubeConfig } = await import('@kubernetes/client-node');
  const { startOperator } = await import('../operator/operator.ts');
  const kubeConfig = new KubeConfig();
  if (flags.kubeconfig) kubeConfig.loadFromFile(flags.kubeconfig);
  else kubeConfig.loadFromCluster();
  let operator: Operator | undefined;
  const metrics = flags.metrics
    ? await (await import('../../observe/metrics/operator-metrics.ts')).startOperatorMetrics(
        flags.metrics,
        version,
        () => operator?.isLeader ?? false,
      )
    : undefined;
  operator = startOperator({
    kubeConfig,
    holder: `${hostname()}_${process.pid}`,
    namespace: flags.namespace ?? 'kube-system',
    ...{ leaseMs, sweepIntervalMs, policyIntervalMs: POLICY_INTERVAL_MS, graceMs },
    log: (line) => void process.stderr.write(`${line}\n`),
    ...(metrics && { onSweep: metrics.count }),
  });
  await new Promise<void>((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => resolve());
  });
  await operator.stop();
  metrics?.server.closeAllConnections();
  metrics?.server.close();
  return 0;
}
