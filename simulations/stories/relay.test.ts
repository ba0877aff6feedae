/** Flows of two nodes through a relay, and what becomes of it when one of them goes silent. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { DebugClient } from '../../cli/output/debug-client.ts';
import { HubbleClient } from '../../observe/hubble/client.ts';
import type { GetFlowsRequest, GetFlowsResponse } from '../../observe/hubble/observer.ts';
import type { FlowLine } from '../../observe/web/flow-routes.ts';
import type { ServiceMapView } from '../../observe/web/service-map.ts';
import { AXONEME, commandPod, EmbeddedCluster, namespaceOf, run, serverPod, until } from './embedded.ts';
import { openBrowser, openPage } from './web-fixtures.ts';

const name = `axt-${process.pid}-relay`;
let cluster: EmbeddedCluster;
let relay: ChildProcess;
let hubble: HubbleClient;
let address: string;
let said = '';

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
  const configured = join(tmpdir(), `${name}.json`);
  writeFileSync(configured, JSON.stringify({ hubble: { listen: ':4244' } }));
  cluster = await EmbeddedCluster.up(name, namespaceOf('demo') + pods.join(''), [
    ...['--nodes', '2', '--agent-config', configured],
  ]);
  rmSync(configured);
  address = join(cluster.dir, 'relay.sock');
  const argv = ['--pdeathsig', 'TERM', AXONEME, 'relay', '--name', name, '--socket', address, '--web', '0'];
  relay = spawn('setpriv', argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  relay.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
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

it('finds all nodes by one of them, over TCP, and shows them on one page', async () => {
  const [first] = cluster.ready.nodes;
  const only = join(cluster.dir, 'one-peer.sock');
  const seed = `unix://${join(dirname(first?.debugSocket ?? ''), 'hubble.sock')}`;
  const argv = [`--net=/run/netns/${first?.netns}`, '--', 'setpriv', '--pdeathsig', 'TERM', AXONEME, 'relay'];
  const found = spawn('nsenter', [...argv, '--peer', seed, '--socket', only, '--web', '4999'], { stdio: 'ignore' });
  const asking = new HubbleClient(`unix://${only}`);
  const fetched = async <T>(path: string): Promise<T | undefined> => {
    const { code, stdout } = await run('nsenter', [
      ...argv.slice(0, 2),
      ...['curl', '-sS', '-m', '10', `http://127.0.0.1:4999${path}`],
    ]);
    return code === 0 ? (JSON.parse(stdout) as T) : undefined;
  };
  try {
    const nodes = await until('both nodes', 20_000, async () => {
      const known = await asking.nodes().catch(() => []);
      return known.filter(({ state }) => state === 'NODE_CONNECTED').length === 2 ? known : undefined;
    });
    expect(nodes.map((node) => node.name)).toEqual([`${name}/node-1`, `${name}/node-2`]);
    expect(nodes[1]?.address).toMatch(/^172\.28\..*:4244$/);
    expect(await fetched('/v1/page/nodes')).toMatchObject([
      { name: `${name}/node-1`, views: ['map', 'flows', 'health'] },
      { name: `${name}/node-2`, base: `/nodes/${encodeURIComponent(`${name}/node-2`)}` },
    ]);
    const map = await until('the map', 20_000, async () => {
      const view = await fetched<ServiceMapView>('/v1/service-map');
      return view?.edges.some(({ to, port }) => to === 'demo/server' && port === 8080) ? view : undefined;
    });
    expect(map.nodes.map(({ id }) => id)).toEqual(expect.arrayContaining(['demo/client', 'demo/server']));
    const path = `/nodes/${encodeURIComponent(`${name}/node-2`)}/v1/flows?last=5&q=to-port%208080`;
    const lines = (await fetched<FlowLine[]>(path)) ?? [];
    expect(new Set(lines.map(({ flow }) => flow?.node_name))).toEqual(new Set([`${name}/node-2`]));
  } finally {
    asking.close();
    found.kill('SIGTERM');
  }
}, 60_000);

it('the dashboard asks only for metrics that a node has', async () => {
  const text = await new DebugClient(cluster.ready.debugSocket).text('/metrics');
  const names = new Set(text.split('\n').flatMap((line) => /^([a-z_:][a-z0-9_:]*)[{ ]/i.exec(line)?.[1] ?? []));
  const declared = new Set(text.split('\n').flatMap((line) => /^# TYPE (\S+)/.exec(line)?.[1] ?? []));
  const dashboard = readFileSync(new URL('../../deploy/dashboards/axoneme.json', import.meta.url), 'utf8');
  const asked = dashboard.match(/\b(cilium|hubble|axoneme|process|nodejs)_[a-z0-9_]+/g) ?? [];
  expect(asked.length).toBeGreaterThan(40);
  for (const metric of new Set(asked)) {
    const base = metric.replace(/_bucket$/, '');
    expect([...declared], metric).toContain(base);
    if (!SELDOM.has(base)) expect([...names], metric).toContain(metric);
  }
});
/** Nothing of the kind need have happened by then. */
const SELDOM = new Set([
  'cilium_drop_count_total',
  'hubble_drop_total',
  'hubble_policy_verdicts_total',
  'hubble_flows_to_world_total',
  'cilium_policy_implementation_delay',
  'cilium_service_implementation_delay',
  'cilium_errors_warnings_total',
  'axoneme_export_flows_total',
  'axoneme_export_queue',
]);

it('what the ring buffer had no room for is counted, and said in every stream', async () => {
  const denied = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: demo, name: no-discard}
spec:
  endpointSelector: {matchLabels: {app: server}}
  enableDefaultDeny: {ingress: false}
  ingressDeny: [{fromEndpoints: [{}], toPorts: [{ports: [{port: "9", protocol: UDP}]}]}]
`;
  const file = join(cluster.dir, 'no-discard.yaml');
  writeFileSync(file, denied);
  expect((await cluster.kubectl('apply', '-f', file)).code).toBe(0);
  const pod = await cluster.core.readNamespacedPod({ namespace: 'demo', name: 'server' });
  const flood = async (count: number): Promise<void> => {
    const args = [FLOOD, String(pod.status?.podIP), '9', String(count)];
    expect((await cluster.exec('demo/client', [process.execPath, '-e', ...args])).code).toBe(0);
  };
  const whitelist = [{ destination_port: ['9'], verdict: ['DROPPED'] }];
  await until('a drop', 15_000, async () => {
    await flood(1);
    return (await flows({ whitelist })).some(({ flow }) => flow) || undefined;
  });
  const before = await hubble.status();
  const pids = cluster.agentPids();
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  await flood(FLOODED).finally(() => {
    for (const pid of pids) process.kill(pid, 'SIGCONT');
  });
  const told = await until('a loss', 15_000, async () => {
    const found = (await flows({ whitelist, number: 1 })).filter(({ lost_events }) => lost_events);
    return found.length > 0 ? found : undefined;
  });
  expect(new Set(told.map(({ node_name }) => node_name))).toEqual(new Set([`${name}/node-2`]));
  const [{ lost_events } = {}] = told;
  expect(lost_events).toMatchObject({ source: 'PERF_EVENT_RING_BUFFER' });
  const lost = told.reduce((sum, one) => sum + (one.lost_events?.num_events_lost ?? 0), 0);
  // A verdict and a drop for each packet, beside the little that others do.
  const seen = (await hubble.status()).seen_flows - before.seen_flows;
  expect(lost + seen).toBeGreaterThanOrEqual(2 * FLOODED);
  expect(lost + seen).toBeLessThan(2 * FLOODED + 1_000);
  const ask = ['observe', '--server', `unix://${address}`, '--last', '1', '--to-port', '9'];
  const [json, text] = await Promise.all([run(AXONEME, [...ask, '-o', 'json']), run(AXONEME, ask)]);
  expect(json.stdout).toContain(`"lost_events":{"source":"PERF_EVENT_RING_BUFFER","num_events_lost":"`);
  expect(text.stdout).toMatch(/^EVENTS LOST: PERF_EVENT_RING_BUFFER CPU\(\d+\) \d+$/m);
  const lines = await cluster.debug<FlowLine[]>('/v1/flows?q=to-port%209', 'node-2');
  expect(lines.reduce((sum, line) => sum + (line.lost ?? 0), 0)).toBe(lost);
  const socket = cluster.ready.nodes[1]?.debugSocket ?? '';
  expect(await new DebugClient(socket).text('/metrics')).toContain(
    `hubble_lost_events_total{source="perf_event_ring_buffer"} ${lost}\n`,
  );
}, 60_000);

/** Twice as many events, of which the ring buffer holds some 20,000. */
const FLOODED = 15_000;
const FLOOD = `const [address, port, count] = process.argv.slice(1);
const socket = require('dgram').createSocket('udp4');
let left = Number(count);
const send = () => left-- > 0 ? socket.send('x', Number(port), address, send) : socket.close();
send();`;

it('agent events are a node’s; those of the node tell of its pods', async () => {
  const { stdout } = await run(AXONEME, ['status', '--name', name, '--node', 'node-2', '-o', 'json']);
  const { hubble: own } = JSON.parse(stdout) as { hubble: { socket: string } };
  const node = new HubbleClient(`unix://${own.socket}`);
  const events = [];
  for await (const { agent_event } of node.agentEvents({})) events.push(agent_event);
  node.close();
  expect(events[0]).toMatchObject({ type: 'AGENT_STARTED' });
  const created = events.filter(({ type }) => type === 'ENDPOINT_CREATED').map((event) => event.endpoint_update);
  // The health endpoint is no pod's.
  expect(created.find((update) => update?.pod_name !== '')).toMatchObject({ namespace: 'demo', pod_name: 'server' });
  const pod = await cluster.core.readNamespacedPod({ namespace: 'demo', name: 'server' });
  const cidr = `${pod.status?.podIP}/32`;
  expect(events.find(({ ipcache_update }) => ipcache_update?.cidr === cidr)).toMatchObject({
    type: 'IPCACHE_UPSERTED',
  });
  const policies = events.filter(({ type }) => type === 'POLICY_UPDATED').map((event) => event.policy_update);
  expect(policies.find((update) => update?.labels.includes('k8s:io.cilium.k8s.policy.name=no-discard'))).toMatchObject({
    rule_count: 1,
  });
});

it('its page tells of its nodes, and where the rest is', async () => {
  const browser = await openBrowser();
  try {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
    const url = /web page (http:\S+)/.exec(said)?.[1] ?? '';
    const { page, complaints } = await openPage(context, `${url}#/machines/endpoint`);
    await page.getByRole('cell', { name: `${name}/node-2` }).waitFor();
    expect(await page.getByRole('navigation').getByRole('link').allTextContents()).toEqual([
      ...['Service map', 'Flows', 'Health'],
    ]);
    expect(await page.locator('tbody tr .badge').allTextContents()).toEqual(['answers', 'answers']);
    expect(await page.locator('main').textContent()).toContain('on the page of a node');
    if (process.env['WEB_SHOTS']) await page.screenshot({ path: join(process.env['WEB_SHOTS'], 'relay-light.png') });
    expect(complaints).toEqual([]);
  } finally {
    await browser.close();
  }
}, 30_000);

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
