/** Flows of two nodes through a relay, and what becomes of it when one of them goes silent. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { HubbleClient } from '../../observe/hubble/client.ts';
import type { GetFlowsRequest, GetFlowsResponse } from '../../observe/hubble/observer.ts';
import { AXONEME, commandPod, EmbeddedCluster, namespaceOf, run, serverPod, until } from './embedded.ts';

const name = `axt-${process.pid}-relay`;
let cluster: EmbeddedCluster;
let relay: ChildProcess;
let hubble: HubbleClient;
let address: string;

const onNode = (pod: string, node: string): string => pod.replace('spec:', `spec:\n  nodeName: ${node}`);

async function flows(request: GetFlowsRequest): Promise<GetFlowsResponse[]> {
  const got: GetFlowsResponse[] = [];
  for await (const response of hubble.flows(request)) got.push(response);
  return got;
}

beforeAll(async () => {
  const pods = [
    onNode(commandPod('demo', 'client', ['sleep', 'infinity']), 'node-1'),
    onNode(serverPod('demo', 'server'), 'node-2'),
  ];
  cluster = await EmbeddedCluster.up(name, namespaceOf('demo') + pods.join(''), ['--nodes', '2']);
  address = join(cluster.dir, 'relay.sock');
  const argv = ['--pdeathsig', 'TERM', AXONEME, 'relay', '--name', name, '--socket', address];
  relay = spawn('setpriv', argv, { stdio: ['ignore', 'ignore', 'inherit'] });
  hubble = new HubbleClient(`unix://${address}`);
  await until('both nodes', 15_000, async () => {
    const nodes = await hubble.nodes().catch(() => []);
    return nodes.filter(({ state }) => state === 'NODE_CONNECTED').length === 2 || undefined;
  });
}, 90_000);
afterAll(async () => {
  hubble?.close();
  if (relay && relay.exitCode === null) {
    const ended = new Promise((resolve) => relay.once('exit', resolve));
    relay.kill('SIGTERM');
    await ended;
  }
  await cluster?.down();
}, 60_000);

it('knows the nodes, their sum, and the namespaces of both', async () => {
  expect((await hubble.nodes()).map((node) => node.name)).toEqual([`${name}/node-1`, `${name}/node-2`]);
  const status = await hubble.status();
  expect(status).toMatchObject({
    num_connected_nodes: { value: 2 },
    num_unavailable_nodes: { value: 0 },
    max_flows: 8190,
  });
  const pod = await cluster.core.readNamespacedPod({ namespace: 'demo', name: 'server' });
  expect(
    (await cluster.exec('demo/client', ['curl', '-sS', '-m', '5', `http://${pod.status?.podIP}:8080/`])).code,
  ).toBe(0);
  await until(
    'namespace',
    5_000,
    async () => (await hubble.namespaces()).some(({ namespace }) => namespace === 'demo') || undefined,
  );
});

it('gives flows of both nodes in order of time, and the newest when asked for a number', async () => {
  const whitelist = [{ protocol: ['TCP'], destination_port: ['8080'] }];
  const seen = await until('flows of both nodes', 10_000, async () => {
    const got = (await flows({ whitelist })).filter(({ flow }) => flow);
    return new Set(got.map(({ node_name }) => node_name)).size === 2 ? got : undefined;
  });
  const times = seen.map(({ time }) => BigInt(time.seconds) * 1_000_000_000n + BigInt(time.nanos));
  expect(times).toEqual([...times].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)));
  const newest = (await flows({ whitelist, number: 2 })).filter(({ flow }) => flow);
  expect(newest.map(({ flow }) => flow?.uuid)).toEqual(seen.slice(-2).map(({ flow }) => flow?.uuid));
}, 30_000);

it('follows, as observe does', async () => {
  const follower = spawn(AXONEME, [
    'observe',
    '--server',
    `unix://${address}`,
    '--follow',
    '--to-pod',
    'demo/server',
    '-o',
    'json',
  ]);
  let output = '';
  follower.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  try {
    const pod = await cluster.core.readNamespacedPod({ namespace: 'demo', name: 'server' });
    await until('a flow that is followed', 15_000, async () => {
      await cluster.exec('demo/client', ['curl', '-sS', '-m', '5', `http://${pod.status?.podIP}:8080/`]);
      return output.includes('"pod_name":"server"') || undefined;
    });
  } finally {
    follower.kill('SIGTERM');
  }
}, 30_000);

it('agent events are a node’s; those of the node tell of its pods', async () => {
  const { stdout } = await run(AXONEME, ['status', '--name', name, '--node', 'node-2', '-o', 'json']);
  const { hubble: own } = JSON.parse(stdout) as { hubble: { socket: string } };
  const node = new HubbleClient(`unix://${own.socket}`);
  const events = [];
  for await (const { agent_event } of node.agentEvents({})) events.push(agent_event);
  node.close();
  expect(events[0]).toMatchObject({ type: 'AGENT_STARTED' });
  const created = events.find(({ type }) => type === 'ENDPOINT_CREATED');
  expect(created?.endpoint_update).toMatchObject({ namespace: 'demo', pod_name: 'server' });
  const pod = await cluster.core.readNamespacedPod({ namespace: 'demo', name: 'server' });
  const cidr = `${pod.status?.podIP}/32`;
  expect(events.find(({ ipcache_update }) => ipcache_update?.cidr === cidr)).toMatchObject({
    type: 'IPCACHE_UPSERTED',
  });
});

it('names a node that is silent, and answers for the other', async () => {
  const pids = cluster.agentPids();
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  try {
    const status = await hubble.status();
    expect(status.unavailable_nodes).toEqual([`${name}/node-1`, `${name}/node-2`]);
  } finally {
    for (const pid of pids) process.kill(pid, 'SIGCONT');
  }
  await until(
    'nodes are back',
    10_000,
    async () => (await hubble.status()).num_connected_nodes?.value === 2 || undefined,
  );
}, 30_000);
