/** Whole clusters in memory keep every law, whatever happens to them; one seed has one history, in any process. */
import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { clusterActionsFrom, faultLevels } from './actions.ts';
import { Cluster } from './cluster.ts';
import { checkCluster } from './laws.ts';
import { type ClusterOutcome, runCluster } from './run.ts';

/** Set by hand or by CI for another part of the seeds. */
const SEED = Number(process.env['CLUSTER_SEED'] ?? 1);
const RUNS = Number(process.env['CLUSTER_RUNS'] ?? 4);
const EVENTS = 150;

describe('a cluster', () => {
  test.each(faultLevels.flatMap((level) => Array.from({ length: RUNS }, (_, i) => [level, SEED + i] as const)))(
    'with faults %s, seed %d',
    async (level, seed) => {
      const outcome = await runCluster({ seed, nodes: 4 }, clusterActionsFrom(seed, EVENTS, level));
      expect(outcome.violations).toEqual([]);
      expect(outcome.ops).toBeGreaterThan(0);
    },
    60_000,
  );

  test('every kind of network, pods on each of many nodes: everybody knows everybody', async () => {
    for (let seed = 0; seed < 4; seed++) {
      const actions = Array.from({ length: 24 }, (_, i) => ({ do: 'create' as const, pod: i, node: i }));
      const outcome = await runCluster({ seed, nodes: 12 }, actions);
      expect(outcome.violations).toEqual([]);
    }
  }, 60_000);

  test('has one history: the same digest in another process', async () => {
    const again = `
      import { clusterActionsFrom } from '${new URL('actions.ts', import.meta.url).pathname}';
      import { runCluster } from '${new URL('run.ts', import.meta.url).pathname}';
      process.stdout.write(JSON.stringify(await runCluster({ seed: ${SEED}, nodes: 4 }, clusterActionsFrom(${SEED}, 100, 'heavy'))));`;
    const there = JSON.parse(
      execFileSync(
        process.execPath,
        ['--disable-warning=ExperimentalWarning', '--input-type=module-typescript', '-e', again],
        {
          encoding: 'utf8',
        },
      ),
    ) as ClusterOutcome;
    const here = await runCluster({ seed: SEED, nodes: 4 }, clusterActionsFrom(SEED, 100, 'heavy'));
    expect(there).toEqual(here);
    expect(here.digest).not.toBe((await runCluster({ seed: SEED + 1, nodes: 4 }, [])).digest);
  }, 60_000);
});

test('the laws see a node that lost a row of a pod on another, and one that has a row too many', async () => {
  const cluster = new Cluster({ seed: 0, nodes: 3 });
  try {
    await cluster.start();
    await cluster.act({ do: 'create', pod: 0, node: 0 });
    expect(await cluster.settle()).toBeDefined();
    expect(checkCluster(cluster)).toEqual([]);
    const [home, other] = [...cluster.nodes.values()];
    const address = home?.runtime.sandboxes[0]?.result?.ips[0]?.address ?? '';
    other?.kernel.meddle('bpf.ipcache', address, undefined);
    other?.kernel.meddle('bpf.ipcache', '10.0.2.99/32', { identity: 400, tunnelEndpoint: '', encryptKey: 0, flags: 0 });
    const found = checkCluster(cluster).join('\n');
    expect(found).toContain(`${address} of demo/pod-0 on node-1 has identity none`);
    expect(found).toContain('10.0.2.99/32 has identity 400, and no pod has it');
  } finally {
    cluster.close();
  }
});
