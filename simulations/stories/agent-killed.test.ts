/** The agent is killed again and again while pods come and go: traffic of ready pods never stops, and all converges. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { commandPod, EmbeddedCluster, leftovers, namespaceOf, serverPod, sleep, Traffic, until } from './embedded.ts';

const KILLS = 20;
const name = `axt-${process.pid}-kill`;
let cluster: EmbeddedCluster;

beforeAll(async () => {
  const pods = [
    serverPod('demo', 'web-a'),
    serverPod('demo', 'web-b'),
    commandPod('demo', 'client', ['sleep', 'infinity']),
  ];
  cluster = await EmbeddedCluster.up(name, namespaceOf('demo') + pods.join(''));
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

interface TableView {
  rows: { table: string; key: string; state: string; desired?: unknown; actual?: unknown; kernel?: unknown }[];
}

const churned = (round: number): string => `churn-${round % 4}`;

/** One pod in, or one out; what the API server says is not waited for. */
async function churn(round: number): Promise<void> {
  const pod = churned(round);
  try {
    if (Math.floor(round / 4) % 2 === 0) {
      const spec = { containers: [{ name: 'server', image: 'built-in', ports: [{ containerPort: 8080 }] }] };
      await cluster.core.createNamespacedPod({
        namespace: 'demo',
        body: { metadata: { name: pod, namespace: 'demo', labels: { app: pod } }, spec },
      });
    } else await cluster.core.deleteNamespacedPod({ namespace: 'demo', name: pod });
  } catch (error) {
    // A pod of the round before may still be leaving; the next round tries again.
    if (![404, 409].includes((error as { code?: number }).code ?? 0)) throw error;
  }
}

async function allReady(): Promise<true | undefined> {
  const { items } = await cluster.core.listNamespacedPod({ namespace: 'demo' });
  const done = items.every(
    (pod) =>
      !pod.metadata?.deletionTimestamp &&
      pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'),
  );
  return done || undefined;
}

const DURABLE = ['links', 'attachments', 'addrs', 'routes', 'bpf.netdevs', 'bpf.ipcache', 'bpf.endpoints'];

/** Rows of the tables of the kernel that are not wanted as they are there. */
async function differences(): Promise<string[]> {
  const found: string[] = [];
  for (const table of DURABLE) {
    const { rows } = await cluster.debug<TableView>(`/v1/tables/${table}?view=all`);
    for (const row of rows) {
      const same = JSON.stringify(sorted(row.desired)) === JSON.stringify(sorted(row.kernel));
      if (!same || row.state !== 'in-sync') found.push(`${table} ${row.key}: ${row.state}`);
    }
  }
  return found;
}

function sorted(value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  );
}

it(`no request fails while the agent is killed ${KILLS} times, and the kernel ends as desired`, async () => {
  const { items } = await cluster.core.listNamespacedPod({ namespace: 'demo' });
  const urls = items
    .filter((pod) => pod.metadata?.name?.startsWith('web-'))
    .flatMap((pod) => pod.status?.podIPs ?? [])
    .map(({ ip = '' }) => `http://${ip.includes(':') ? `[${ip}]` : ip}:8080/`);
  expect(urls).toHaveLength(4);
  const traffic = new Traffic(cluster, 'demo/client', urls);
  await until('first requests', 10_000, () => traffic.tally.asked > 20 || undefined);
  let killed = 0;
  for (let round = 0; killed < KILLS; round++) {
    await churn(round);
    // A different moment of the start or of the churn each time.
    await sleep((round * 137) % 700);
    for (const pid of cluster.agentPids()) {
      process.kill(pid, 'SIGKILL');
      killed++;
    }
    await until('agent restarted', 20_000, () => cluster.agentPids().length > 0 || undefined);
  }
  await until('pods ready', 60_000, allReady);
  const tally = await traffic.stop();
  expect(tally.failures).toEqual([]);
  expect(tally.failed).toBe(0);
  expect(tally.asked).toBeGreaterThan(500);
  // The last kill may be a moment ago: until the agent of after it listens, nobody answers.
  await until('agent answers', 20_000, async () =>
    cluster.debug('/v1/status').then(
      () => true,
      () => undefined,
    ),
  );
  await until('kernel as desired', 40_000, async () => ((await differences()).length === 0 ? true : undefined)).catch(
    () => undefined,
  );
  expect(await differences()).toEqual([]);
}, 240_000);
