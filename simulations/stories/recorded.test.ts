/** A real cluster is recorded, its agent dies on the way; the recording, replayed, has the rows of the live agent, and no secret. */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readRecording } from '../../cluster/recording-reader.ts';
import { differences, replay } from '../replay.ts';
import { EmbeddedCluster, leftovers, namespaceOf, serverPod, sleep, until } from './embedded.ts';

const name = `axt-${process.pid}-recorded`;
const SECRET = 'PLANTED-hunter2';
let cluster: EmbeddedCluster;
let recorded: string;

const withSecret = `apiVersion: v1
kind: Pod
metadata: {namespace: demo, name: client, labels: {app: client}}
spec:
  containers:
  - name: command
    image: built-in
    command: [sleep, infinity]
    env: [{name: DB_PASSWORD, value: ${SECRET}}]
---
`;

beforeAll(async () => {
  recorded = join(tmpdir(), `${name}-log`);
  cluster = await EmbeddedCluster.up(name, namespaceOf('demo') + serverPod('demo', 'web') + withSecret, [
    '--record',
    recorded,
  ]);
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  rmSync(recorded, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

interface Status {
  engine: { seq: number; pending: number; inFlight: number };
  health: { status: string };
  endpoints: { byState: Record<string, number> };
  digest: { total: string };
}

async function quiet(pods: number): Promise<Status> {
  return until('quiet', 40_000, async () => {
    const status = await cluster.debug<Status>('/v1/status').catch(() => undefined);
    const isReady = status?.endpoints.byState['ready'] === pods && status.health.status === 'ok';
    return isReady && status.engine.pending === 0 && status.engine.inFlight === 0 ? status : undefined;
  });
}

it('the digest of the replay is that of the live agent, before and after it was killed', async () => {
  await quiet(2);
  for (const pid of cluster.agentPids()) process.kill(pid, 'SIGKILL');
  await cluster.core.deleteNamespacedPod({ namespace: 'demo', name: 'web' });
  await sleep(1_000);
  const live = await quiet(1);
  const folder = join(recorded, readdirSync(recorded)[0] ?? '');
  const replayed = await replay(readRecording(folder), { until: live.engine.seq });
  expect(replayed.divergences).toEqual([]);
  expect(replayed.runs).toBe(2);
  expect(replayed.digest.total).toBe(live.digest.total);
  expect(differences(replayed.engine, replayed.kernel)).toEqual([]);
  for (const file of readdirSync(folder)) expect(readFileSync(join(folder, file), 'utf8')).not.toContain(SECRET);
}, 90_000);
