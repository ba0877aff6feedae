/**
 * A real cluster is recorded, by its agent and by kubectl, while pods, services and policies come and go, the agent dies and the API
 * server is out of reach. The recordings, replayed, have the rows of the live kernel, tell which event broke a connection, and hold no
 * secret.
 *
 * - `RECORDED_EVENTS=N npx vitest run simulations/stories/recorded` for another number of events.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { lastRunOf, readRecording } from '../../cluster/recording-reader.ts';
import { digestOf } from '../../state/digest.ts';
import { type TableName, tableNames, tables } from '../../state/tables.ts';
import { isKernelTable } from '../kernel.ts';
import { Check } from '../replay/check.ts';
import { FlowWatch } from '../replay/flows.ts';
import { play, sourceOf } from '../replay/source.ts';
import { differences, replay } from '../replay.ts';
import { EmbeddedCluster, leftovers, namespaceOf, run, serverPod, until } from './embedded.ts';
import { Churn, lockdown, POLICY } from './recorded/churn.ts';

const name = `axt-${process.pid}-recorded`;
const EVENTS = Number(process.env['RECORDED_EVENTS'] ?? 10_000);
const SECRET = 'PLANTED-hunter2';
let cluster: EmbeddedCluster;
let recorded: string;
let watched: string;
let churn: Churn;
const watchers: ChildProcess[] = [];

const withSecret = `apiVersion: v1
kind: Pod
metadata: {namespace: demo, name: client, labels: {app: client}, annotations: {note: "token: ${SECRET}"}}
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
  watched = join(tmpdir(), `${name}-kubectl`);
  mkdirSync(watched);
  const pods = namespaceOf('demo') + serverPod('demo', 'web') + serverPod('demo', 'doomed') + withSecret;
  cluster = await EmbeddedCluster.up(name, pods, ['--record', recorded]);
}, 120_000);
afterAll(async () => {
  for (const child of watchers) child.kill();
  churn?.close();
  await cluster?.down();
  for (const path of [recorded, watched]) rmSync(path, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

interface Status {
  engine: { seq: number; pending: number; inFlight: number };
  health: { status: string };
  digest: { total: string; tables: Record<string, { sha256: string }> };
}
interface Rows {
  rows: { key: string; kernel?: unknown }[];
}

const KERNEL = tableNames.filter((table) => isKernelTable(table) && tables[table].durable);

/** What the kernel has at a moment, which is named: nothing came while it was looked at. */
async function stock(): Promise<{ live: Status; dumps: Map<TableName, [string, unknown][]> }> {
  for (;;) {
    const live = await quiet();
    const dumps = new Map<TableName, [string, unknown][]>();
    for (const table of KERNEL) {
      const { rows } = await cluster.debug<Rows>(`/v1/tables/${table}?view=kernel`);
      dumps.set(
        table,
        rows.map(({ key, kernel }) => [key, kernel]),
      );
    }
    if ((await cluster.debug<Status>('/v1/status')).engine.seq === live.engine.seq) return { live, dumps };
  }
}

/** Nothing is under way, and nothing has come for a while. */
async function quiet(): Promise<Status> {
  let last = -1;
  let since = Date.now();
  return until('quiet', 90_000, async () => {
    const status = await cluster.debug<Status>('/v1/status').catch(() => undefined);
    if (status?.engine.seq !== last) since = Date.now();
    last = status?.engine.seq ?? -1;
    const isCalm = status?.health.status === 'ok' && status.engine.pending === 0 && status.engine.inFlight === 0;
    return isCalm && Date.now() - since > 1_500 ? status : undefined;
  });
}

const KUBECTL = ['nodes', 'namespaces', 'pods', 'services', 'endpointslices', 'networkpolicies'];

/** What anybody can do on any cluster. */
async function watchWithKubectl(): Promise<void> {
  for (const resource of KUBECTL) {
    const file = openSync(join(watched, `${resource}.json`), 'w');
    const args = [
      '--kubeconfig',
      cluster.ready.kubeconfig,
      'get',
      resource,
      '-A',
      '-o',
      'json',
      '--watch',
      '--output-watch-events',
    ];
    watchers.push(
      spawn('kubectl', args, { stdio: ['ignore', file, 'ignore'], env: { ...process.env, HOME: watched } }),
    );
    closeSync(file);
  }
  const sees = (resource: string, text: string): boolean =>
    readFileSync(join(watched, `${resource}.json`), 'utf8').includes(text);
  await until(
    'kubectl watches',
    30_000,
    () => (sees('pods', '"web"') && sees('services', '"kubernetes"') && sees('nodes', '"node-1"')) || undefined,
  );
}

async function stopKubectl(): Promise<void> {
  for (const child of watchers.splice(0)) {
    child.kill();
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
}

async function outage(during: () => Promise<void>): Promise<void> {
  const netns = cluster.ready.nodes[0]?.netns ?? '';
  const routes = JSON.parse((await run('ip', ['-n', netns, '-j', 'route', 'show', 'default'])).stdout) as {
    gateway: string;
  }[];
  const route = ['unreachable', `${routes[0]?.gateway}/32`];
  await run('ip', ['-n', netns, 'route', 'add', ...route]);
  try {
    await during();
  } finally {
    await run('ip', ['-n', netns, 'route', 'del', ...route]);
  }
}

const folder = (): string => join(recorded, readdirSync(recorded)[0] ?? '');
const client = { pod: 'demo/client' };
const toWeb = { id: 'web', from: client, to: { pod: 'demo/web' }, protocol: 'TCP', port: 8080 };
const toDoomed = { id: 'doomed', from: client, to: { pod: 'demo/doomed' }, protocol: 'TCP', port: 8080 };

it('the replay of a busy life has the rows of the live kernel, table by table, and every law held in it', async () => {
  await watchWithKubectl();
  churn = new Churn(cluster);
  const seqNow = async (): Promise<number> => (await cluster.debug<Status>('/v1/status')).engine.seq;
  await churn.setUp();
  await churn.turns(20);
  await churn.api.create(lockdown);
  const enforcing = async (): Promise<boolean> => {
    const { rows } = await cluster.debug<Rows>('/v1/tables/bpf.endpoints?view=kernel');
    return rows.some(({ kernel }) => (kernel as { flags: number }).flags !== 0);
  };
  await until('the lockdown is in force', 30_000, async () => (await enforcing()) || undefined);
  await churn.api.remove(lockdown);
  await until('the lockdown is over', 30_000, async () => !(await enforcing()) || undefined);
  let before = 0;
  await until('half of the events', 280_000, async () => {
    await churn.turns(50);
    before = await seqNow();
    return before >= EVENTS / 2 || undefined;
  });
  for (const pid of cluster.agentPids()) process.kill(pid, 'SIGKILL');
  await churn.turns(20);
  await cluster.core.deleteNamespacedPod({ namespace: 'demo', name: 'doomed' });
  await until('another agent', 60_000, () =>
    seqNow()
      .then((seq) => seq > 20 || undefined)
      .catch(() => undefined),
  );
  await outage(() => churn.turns(100));
  await until('all of the events', 280_000, async () => {
    await churn.turns(50);
    return before + (await seqNow()) >= EVENTS || undefined;
  });
  const { live, dumps } = await stock();
  await stopKubectl();

  const check = new Check();
  const replayed = await replay(readRecording(folder()), {
    until: live.engine.seq,
    untilOfRun: await lastRunOf(folder()),
    watchers: [check],
  });
  check.end();
  expect(check.result.violations).toEqual([]);
  expect(replayed.divergences).toEqual([]);
  expect(replayed.runs).toBe(2);
  expect(before + replayed.seq).toBeGreaterThanOrEqual(EVENTS);
  expect(replayed.digest.total).toBe(live.digest.total);
  expect(differences(replayed.engine, replayed.kernel)).toEqual([]);
  // The digest of the agent is of what it believes; this is what the kernel has.
  const dumped = digestOf((table) => dumps.get(table) ?? []).tables;
  expect(Object.keys(dumped).length).toBeGreaterThan(8);
  for (const table of KERNEL) {
    const rows = new Map(dumps.get(table));
    expect([table, [...replayed.engine.actual(table).keys()].sort()]).toEqual([table, [...rows.keys()].sort()]);
    expect([table, replayed.digest.tables[table]]).toEqual([table, dumped[table]]);
  }
}, 600_000);

it('no secret is in it', () => {
  for (const file of readdirSync(folder()))
    expect(readFileSync(join(folder(), file), 'utf8').includes(SECRET)).toBe(false);
});

it('flows over time name the event that broke a connection, from the recording and from what kubectl wrote', async () => {
  writeFileSync(join(watched, 'flows.json'), JSON.stringify([toWeb, toDoomed]));
  const files = KUBECTL.map((resource) => join(watched, `${resource}.json`));
  for (const paths of [[folder()], files]) {
    const watch = new FlowWatch([toWeb, toDoomed]);
    await play({ ...sourceOf(paths), ...(paths === files && { node: 'node-1' }) }, [watch]);
    const [web, doomed] = watch.histories.map(({ changes }) => changes);
    expect(web?.map(({ verdict }) => verdict)).toEqual(['absent', 'allowed', 'denied', 'allowed']);
    const broke = web?.[2]?.because;
    expect(broke?.event).toMatchObject({ type: 'kube.upserted', subject: `networkpolicies/demo/${POLICY}` });
    expect(broke?.machine).toMatch(/^(endpoint\/|policy$)/);
    expect(web?.[3]?.because.event).toMatchObject({ type: 'kube.deleted', subject: `networkpolicies/demo/${POLICY}` });
    expect(doomed?.at(-1)?.verdict).toBe('absent');
  }
  const answer = await run('cli/axoneme', [
    'replay',
    ...files,
    '--node',
    'node-1',
    '--flows',
    join(watched, 'flows.json'),
  ]);
  expect(answer.stdout).toMatch(
    new RegExp(
      `stopped working at .*: #\\d+ .* kube.upserted networkpolicies/demo/${POLICY} \\(networkpolicies.json:\\d+\\)`,
    ),
  );
}, 120_000);
