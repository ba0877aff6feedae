/** `axoneme operator`: duties of the whole cluster; several may run, one of them leads. */
import { hostname } from 'node:os';
import { noPositionals } from '../output/arguments.ts';
import { parseArguments, wholeNumber } from '../usage.ts';

export const summary =
  'run the cluster-wide duties: identities that nobody uses are collected, policies say where they are in force';
export const usage = `axoneme operator [--kubeconfig FILE] [--namespace NAME] [--sweep-interval SECONDS] [--grace SECONDS] [--lease SECONDS]

  --kubeconfig FILE          how to reach the API server (default: as a pod of the cluster)
  --namespace NAME           of the Lease by which one of several leads (default kube-system)
  --sweep-interval SECONDS   between two looks at all identities (default 900)
  --grace SECONDS            an identity goes when nobody has used it for so long (default 1800)
  --lease SECONDS            after so long without renewal another leads (default 15)`;

const DAY_SECONDS = 86_400;
const POLICY_INTERVAL_MS = 5_000;
const spec = {
  kubeconfig: 'FILE',
  namespace: 'NAME',
  'sweep-interval': 'SECONDS',
  grace: 'SECONDS',
  lease: 'SECONDS',
} as const;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, spec);
  noPositionals(positionals);
  const ms = (flag: 'sweep-interval' | 'grace' | 'lease', usual: number): number =>
    1000 * wholeNumber(flag, flags[flag] ?? String(usual), 1, DAY_SECONDS);
  const [sweepIntervalMs, graceMs, leaseMs] = [ms('sweep-interval', 900), ms('grace', 1800), ms('lease', 15)];
  await import('../agent/lean-client.ts');
  const { KubeConfig } = await import('@kubernetes/client-node');
  const { startOperator } = await import('../operator/operator.ts');
  const kubeConfig = new KubeConfig();
  if (flags.kubeconfig) kubeConfig.loadFromFile(flags.kubeconfig);
  else kubeConfig.loadFromCluster();
  const operator = startOperator({
    kubeConfig,
    holder: `${hostname()}_${process.pid}`,
    namespace: flags.namespace ?? 'kube-system',
    ...{ leaseMs, sweepIntervalMs, policyIntervalMs: POLICY_INTERVAL_MS, graceMs },
    log: (line) => void process.stderr.write(`${line}\n`),
  });
  await new Promise<void>((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => resolve());
  });
  await operator.stop();
  return 0;
}
