/**
 * How much of a cluster's life is simulated in an hour: 50 nodes with 30 pods each, of which each is replaced once a day, deployed anew
 * in bursts, with policies and services that change; agents are upgraded once a day, and one is killed every hour.
 * Baseline of the same run: one engine alone with the same number of events.
 *
 * node simulations/bench/simulate.ts [HOURS] [NODES]
 */
import { Cluster } from '../cluster/cluster.ts';
import { checkCluster } from '../cluster/laws.ts';
import { seeded } from '../node/clock.ts';

const hours = Number(process.argv[2] ?? 4);
const nodes = Number(process.argv[3] ?? 50);
const PODS_PER_NODE = 30;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const TARGET = 1_000;

const pods = nodes * PODS_PER_NODE;
const random = seeded(1);
const below = (end: number): number => Math.floor(random() * end);
/** What happens so often in a day. */
const rates: [perDay: number, act: (cluster: Cluster) => Promise<void>][] = [
  [
    pods,
    async (cluster) => {
      const pod = below(pods);
      await cluster.act({ do: 'delete', pod });
      await cluster.act({ do: 'create', pod, node: below(nodes) });
    },
  ],
  [24, (cluster) => cluster.act({ do: 'kill', node: below(nodes), afterOps: 0 })],
  [200, (cluster) => cluster.act({ do: 'policy', policy: below(3), as: random() < 0.5 ? 'fromOne' : 'denyOne' })],
  [
    400,
    (cluster) => cluster.act({ do: 'endpoints', service: below(4), slice: below(3), ready: below(16), draining: 0 }),
  ],
  [nodes, (cluster) => cluster.act({ do: 'upgrade', node: below(nodes), build: below(3) })],
];
const perDay = rates.reduce((sum, [rate]) => sum + rate, 0);

const cluster = new Cluster({ seed: 0, nodes, podsPerNode: PODS_PER_NODE, resyncMs: HOUR_MS });
try {
  await cluster.start();
  for (let pod = 0; pod < pods; pod++) await cluster.act({ do: 'create', pod, node: pod });
  if ((await cluster.settle()) === undefined) throw new Error('never quiet');
  process.stdout.write(`${nodes} nodes with ${pods} pods are up; ${Math.round(perDay / 24)} changes an hour\n`);
  const [began, from, before] = [performance.now(), cluster.clock.now, cluster.events];
  const end = from + hours * HOUR_MS;
  while (cluster.clock.now < end) {
    await cluster.advance(Math.max(1, Math.round((-Math.log(1 - random()) * DAY_MS) / perDay)));
    let left = random() * perDay;
    const [, act] = rates.find(([rate]) => {
      left -= rate;
      return left < 0;
    }) ?? [0, async () => {}];
    await act(cluster);
    for (const node of cluster.nodes.values())
      if (!node.isAlive) await cluster.act({ do: 'restart', node: node.number - 1 });
  }
  const wallMs = performance.now() - began;
  const passed = (cluster.clock.now - from) / HOUR_MS;
  const perHour = (passed * HOUR_MS) / wallMs;
  const events = cluster.events - before;
  if ((await cluster.settle()) === undefined) throw new Error('never quiet at the end');
  const violations = [...cluster.violations, ...checkCluster(cluster)];
  if (violations.length > 0) throw new Error(violations.slice(0, 5).join('\n'));
  process.stdout.write(
    `${passed.toFixed(1)} hours of the cluster in ${(wallMs / 1_000).toFixed(1)} s: ${Math.round(perHour).toLocaleString('en')} an hour (target ${TARGET.toLocaleString('en')}: ${perHour >= TARGET ? 'met' : 'MISSED'}), ${Math.round((events * 1_000) / wallMs).toLocaleString('en')} events/s; every law held\n`,
  );
} finally {
  cluster.close();
}
