/**
 * Random sequences of events, crashes, restarts, upgrades, downgrades, flips of configuration and reboots on a simulated cluster, node by
 * node, with releases mixed: every law holds at the end, and connections whose ends still run are known as they were.
 */
import { expect, it } from 'vitest';
import { Cluster } from '../cluster/cluster.ts';
import { runCluster } from '../cluster/run.ts';
import { releases } from '../releases/release.ts';
import { checkConnections } from './connections.ts';
import { sequenceFrom } from './sequences.ts';

/** Set by hand or by CI for another part of the seeds. */
const SEED = Number(process.env['UPGRADE_SEED'] ?? 1);
const RUNS = Number(process.env['UPGRADE_RUNS'] ?? 200);
const NODES = 3;
const LENGTH = 14;

it(`${RUNS} sequences from seed ${SEED}`, async () => {
  const wrong: string[] = [];
  for (let seed = SEED; seed < SEED + RUNS; seed++) {
    const { violations } = await runCluster(
      { seed, nodes: NODES },
      sequenceFrom({ seed, nodes: NODES, length: LENGTH }),
    );
    wrong.push(...violations.map((violation) => `seed ${seed}: ${violation}`));
  }
  expect(wrong).toEqual([]);
}, 300_000);

it('the law sees a connection that an upgrade lost (canary)', async () => {
  const cluster = new Cluster({ seed: 0, nodes: 2 });
  try {
    await cluster.start();
    for (const pod of [0, 1]) await cluster.act({ do: 'create', pod, node: pod });
    await cluster.settle();
    await cluster.act({ do: 'connect', from: 0, to: 1 });
    await cluster.act({ do: 'connect', from: 1, to: 0 });
    for (const release of releases().keys()) await cluster.act({ do: 'release', node: 0, release });
    expect(checkConnections(cluster.connections)).toEqual([]);
    expect(cluster.connections.length).toBe(2);
    const [node] = [...cluster.nodes.values()];
    node?.reboot(false);
    // As if the kernel had gone on: nobody told the connections that it had not.
    for (const { ends } of cluster.connections) for (const end of ends) end.boots = end.node.boots;
    const kept = [...cluster.nodes.values()].flatMap(({ runtime }) => runtime.sandboxes);
    expect(kept.every(({ state }) => state === 'running')).toBe(true);
    expect(checkConnections(cluster.connections).join('\n')).toContain('lost: node-1 no longer knows a connection');
  } finally {
    cluster.close();
  }
});
