/**
 * A real agent comes after an older release on its node: while it is dead, programs and maps of that release are put in its place, and its
 * connections go on, within the node, through a service and to outside, before, between and after.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { BpfClock } from '../../datapath/clock.ts';
import { loadDatapath } from '../../datapath/loader.ts';
import { releasedObject, releases } from '../releases/release.ts';
import { Connections, type Held, inNetns, inPod } from '../stories/connections.ts';
import { EmbeddedCluster, leftovers, namespaceOf, serverPod, sleep, until } from '../stories/embedded.ts';
import { attachPrograms, type Hook } from './installed.ts';

const name = `axt-${process.pid}-older`;
const OUTSIDE_NETNS = `/run/netns/axo-${name}.fabric`;
const PORT = 9000;
const COUNT = 20;
const PAUSE_MS = 20;
const USED_MS = 500;
const older = releases().at(-2)?.version ?? '';
let cluster: EmbeddedCluster;

const service = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: demo}
spec:
  clusterIP: 10.96.44.44
  selector: {app: web}
  ports: [{name: echo, port: ${PORT}, targetPort: ${PORT}}]
---
`;

beforeAll(async () => {
  const manifests = namespaceOf('demo') + serverPod('demo', 'web', PORT + 1) + serverPod('demo', 'client') + service;
  cluster = await EmbeddedCluster.up(name, manifests);
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

interface View {
  rows: { key: string; state: string; kernel?: unknown }[];
}
const hooksOf = ({ rows }: View): (Hook & { build: string })[] =>
  rows.flatMap(({ kernel }) => (kernel ? [kernel as Hook & { build: string }] : []));
const attachments = (): Promise<View> => cluster.debug<View>('/v1/tables/attachments?view=all');
const parentOf = (pid: number): number =>
  Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

it(`no connection is lost from ${older} to the agent of now`, async () => {
  const { podIP = '' } = (await cluster.core.readNamespacedPod({ namespace: 'demo', name: 'web' })).status ?? {};
  const servers = [
    await Connections.serve(inPod(cluster, 'demo/web'), PORT, COUNT),
    await Connections.serve(inNetns(OUTSIDE_NETNS), PORT, COUNT),
  ];
  const held: Connections<Held>[] = [];
  for (const address of [podIP, '10.96.44.44', '203.0.113.10'])
    held.push(
      await Connections.hold(inPod(cluster, 'demo/client'), { address, port: PORT, count: COUNT, pauseMs: PAUSE_MS }),
    );

  const before = hooksOf(await attachments());
  const [agent = 0] = cluster.agentPids();
  const up = parentOf(agent);
  process.kill(up, 'SIGSTOP'); // or there would be another agent at once
  const pinRoot = `/sys/fs/bpf/axoneme/${name}/node-1`;
  try {
    process.kill(agent, 'SIGKILL');
    const clock = new BpfClock();
    const config = { pinRoot, ipv4: true, ipv6: true, masquerade: true, maps: {} };
    const ranges = { ipv4NativeRoutingCIDR: '', ipv6NativeRoutingCIDR: '' };
    const loaded = loadDatapath({ ...config, ...ranges }, await clock.hz(), releasedObject(older, 'datapath'));
    const hooks = before.filter(({ program }) => loaded.programs.has(program));
    expect(hooks.length).toBeGreaterThanOrEqual(6);
    await attachPrograms(loaded, `/run/netns/${cluster.ready.nodes[0]?.netns}`, pinRoot, hooks);
    loaded.handOver();
    loaded.close();
    clock.close();
    await sleep(USED_MS);
  } finally {
    process.kill(up, 'SIGCONT');
  }
  await until('the programs of now are back', 60_000, async () => {
    const { rows } = await attachments().catch((): View => ({ rows: [] }));
    const builds = new Set(hooksOf({ rows }).map(({ build }) => build));
    return (
      (builds.size === 1 && builds.has(before[0]?.build ?? '') && rows.every(({ state }) => state === 'in-sync')) ||
      undefined
    );
  });
  await sleep(USED_MS);
  const results = (await Promise.all(held.map((one) => one.stop()))).flat();
  await Promise.all(servers.map((one) => one.stop()));
  expect(results.map(({ broken }) => broken)).toEqual(results.map(() => 0));
  expect(results.every(({ rounds }) => rounds > 10)).toBe(true);
}, 180_000);
