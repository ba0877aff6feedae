/** One run of a simulated cluster: actions, then peace, then the laws; then no pods, and nothing may be left of them. */
import { createHash } from 'node:crypto';
import { canonical } from '../../state/tables.ts';
import { type ClusterAction, isFault } from './actions.ts';
import { Cluster, type ClusterOptions } from './cluster.ts';
import { checkCluster } from './laws.ts';

export interface ClusterOutcome {
  violations: string[];
  /** Entries of all logs, ops on all kernels, lives of agents. */
  events: number;
  ops: number;
  lives: number;
  /** What was injected, by kind. */
  faults: Record<string, number>;
  /** Of the longest way back to quiet, in ms of the cluster. */
  recoveryMs: number;
  /** Time that passed in the cluster. */
  passedMs: number;
  /** Actions until a law was broken, or all of them. */
  done: number;
  /** Of all kernels at the end: the same for the same seed, on any machine. */
  digest: string;
}

export interface RunOptions extends ClusterOptions {
  /** Peace and judgement after so many actions, beside those at the end. */
  checkEvery?: number;
  /** The laws are not asked before anything has happened: other runs have seen to that. */
  trustsStart?: boolean;
  onProgress?: (done: number) => void;
}

const CHECK_EVERY = 2_000;

export async function runCluster(options: RunOptions, actions: readonly ClusterAction[]): Promise<ClusterOutcome> {
  const { checkEvery = CHECK_EVERY, trustsStart = false, onProgress = () => {} } = options;
  const cluster = new Cluster(options);
  const began = cluster.clock.now;
  const faults: Record<string, number> = {};
  let [recoveryMs, done] = [0, 0];
  const found: string[] = [];
  const judge = async (): Promise<boolean> => {
    const took = await cluster.settle();
    if (took === undefined) found.push('convergent: never quiet');
    else found.push(...checkCluster(cluster));
    recoveryMs = Math.max(recoveryMs, took ?? 0);
    return found.length === 0 && cluster.violations.length === 0;
  };
  try {
    await cluster.start();
    let isSound = trustsStart || (await judge());
    for (let at = 0; at < actions.length && isSound; at++) {
      const action = actions[at] as ClusterAction;
      if (isFault(action)) faults[action.do] = (faults[action.do] ?? 0) + 1;
      await cluster.act(action);
      done = at + 1;
      onProgress(done);
      if (done % checkEvery === 0 || done === actions.length) isSound = await judge();
      isSound &&= cluster.violations.length === 0;
    }
    return {
      violations: [...new Set([...cluster.violations, ...found])],
      events: cluster.events,
      ops: cluster.ops,
      lives: cluster.lives,
      faults,
      recoveryMs,
      passedMs: cluster.clock.now - began,
      done,
      digest: digestOf(cluster),
    };
  } finally {
    cluster.close();
  }
}

function digestOf({ nodes }: Cluster): string {
  const hash = createHash('sha256');
  for (const { name, kernel } of [...nodes.values()].sort((a, b) => a.number - b.number)) {
    const rows = [...kernel.rows()].map(({ table, key, value }) => `${table} ${key} ${canonical(value)}`).sort();
    hash.update(`${name}\n${rows.join('\n')}\n`);
  }
  return hash.digest('hex').slice(0, 16);
}
