/**
 * A node's configuration changes under open connections: within the node, through a service and to outside, with policies in force. For
 * each change the agent is killed three times, twice of them in the middle of its start.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { stateDirOf } from '../../cli/up/names.ts';
import type { StatusView } from '../../observe/status.ts';
import { Connections, type Held, inNetns, inPod } from '../stories/connections.ts';
import { EmbeddedCluster, leftovers, namespaceOf, serverPod, sleep, until } from '../stories/embedded.ts';

const name = `axt-${process.pid}-flips`;
const OUTSIDE_NETNS = `/run/netns/axo-${name}.fabric`;
const CLUSTER_IP = '10.96.44.44';
const OUTSIDE = '203.0.113.10';
const PORT = 9000;
const COUNT = 20;
const PAUSE_MS = 20;
const USED_MS = 1_000;
/** Of a start, after which it is killed: before its programs are loaded, and about when they are attached. */
const STARTED_MS = [150, 900];
const SETTLE_MS = 60_000;
const configFile = `${stateDirOf(name)}/nodes/node-1/agent.json`;

const manifests = `${namespaceOf('demo')}${serverPod('demo', 'web', PORT + 1)}${serverPod('demo', 'client')}apiVersion: v1
kind: Service
metadata: {name: web, namespace: demo}
spec:
  clusterIP: ${CLUSTER_IP}
  selector: {app: web}
  ports: [{name: echo, port: ${PORT}, targetPort: ${PORT}}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: demo}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress: [{fromEndpoints: [{matchLabels: {app: client}}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: client, namespace: demo}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress: [{toEntities: [all]}]
---
`;

let cluster: EmbeddedCluster;
let servers: Connections<Held>[];

beforeAll(async () => {
  cluster = await EmbeddedCluster.up(name, manifests);
  servers = [
    await Connections.serve(inPod(cluster, 'demo/web'), PORT, COUNT),
    await Connections.serve(inNetns(OUTSIDE_NETNS), PORT, COUNT),
  ] as Connections<Held>[];
}, 120_000);
afterAll(async () => {
  await Promise.all((servers ?? []).map((one) => one.stop()));
  await cluster?.down();
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

it.each([
  ['policy always enforced', { policy: { enforcement: 'always' } }],
  ['policy never enforced', { policy: { enforcement: 'never' } }],
  ['policy only told of', { policy: { audit: true } }],
  ['services beside kube-proxy', { services: { mode: 'partial', socketLB: true, nodePort: false } }],
  ['services by packets only', { services: { mode: 'partial', socketLB: false, nodePort: true } }],
  ['services answered directly', { services: { forwarding: 'dsr' } }],
  ['services by Maglev', { services: { algorithm: 'maglev' } }],
  ['pods with their own addresses outside', { masquerade: false }],
  ['every packet told of', { monitor: { aggregation: 'none' } }],
])(
  '%s, and back: no connection is lost',
  async (_, change) => {
    const { podIP = '' } = (await cluster.core.readNamespacedPod({ namespace: 'demo', name: 'web' })).status ?? {};
    const held: Connections<Held>[] = [];
    for (const address of [podIP, CLUSTER_IP, OUTSIDE])
      held.push(
        await Connections.hold(inPod(cluster, 'demo/client'), { address, port: PORT, count: COUNT, pauseMs: PAUSE_MS }),
      );
    const before = readFileSync(configFile, 'utf8');
    try {
      await restartWith(JSON.stringify(merged(JSON.parse(before) as object, change)));
    } finally {
      await restartWith(before);
    }
    const results = (await Promise.all(held.map((one) => one.stop()))).flat();
    expect(results.map(({ broken }) => broken)).toEqual([0, 0, 0]);
    expect(results.every(({ rounds }) => rounds > 10)).toBe(true);
  },
  240_000,
);

async function restartWith(config: string): Promise<void> {
  writeFileSync(configFile, config, { mode: 0o600 });
  for (const ms of [...STARTED_MS, 0]) {
    const [pid = 0] = cluster.agentPids();
    process.kill(pid, 'SIGKILL');
    await until('another agent', SETTLE_MS, () => cluster.agentPids().find((one) => one !== pid));
    await sleep(ms);
  }
  await until('the agent is settled', SETTLE_MS, async () => {
    const status = await cluster.debug<StatusView>('/v1/status').catch(() => undefined);
    return (status?.engine.pending === 0 && status.sources.every(({ synced }) => synced)) || undefined;
  });
  await sleep(USED_MS);
}

function merged(config: object, change: object): object {
  const fields = Object.entries(change).map(([key, value]) => {
    const known = (config as Record<string, unknown>)[key];
    return [key, known && typeof value === 'object' ? { ...known, ...(value as object) } : value];
  });
  return { ...config, ...Object.fromEntries(fields) };
}
