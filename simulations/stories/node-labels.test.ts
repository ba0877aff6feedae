/** Policies that tell nodes by their labels, over real traffic of host processes on other nodes, both families, through a tunnel. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { AXONEME, commandPod, EmbeddedCluster, leftovers, namespaceOf, run, serverPod, until } from './embedded.ts';

const name = `axt-${process.pid}-labels`;
const folder = mkdtempSync(join(tmpdir(), `${name}-`));
const on = (node: string, pod: string): string => pod.replace('spec:\n', `spec:\n  nodeName: ${node}\n`);
const policies = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: demo, name: from-gateways}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromNodes: [{matchLabels: {role: gateway}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: demo, name: to-third}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
  - toNodes: [{matchLabels: {kubernetes.io/hostname: node-3}}]
---
`;
let cluster: EmbeddedCluster;
let pods: string[];

beforeAll(async () => {
  const config = join(folder, 'agent.json');
  writeFileSync(config, JSON.stringify({ policy: { nodeSelectorLabels: true } }));
  const manifests = [
    namespaceOf('demo'),
    on('node-1', serverPod('demo', 'web')),
    on('node-1', commandPod('demo', 'client', ['sleep', 'infinity'])),
    policies,
  ];
  const flags = ['--nodes', '3', '--routing', 'vxlan', '--agent-config', config];
  cluster = await EmbeddedCluster.up(name, manifests.join(''), flags);
  type Pod = { status: { podIPs: { ip: string }[] } };
  const { stdout } = await cluster.kubectl('get', 'pod', '-n', 'demo', 'web', '-o', 'json');
  pods = (JSON.parse(stdout) as Pod).status.podIPs.map(({ ip }) => ip);
  expect(pods).toHaveLength(2);
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  rmSync(folder, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 60_000);

const literal = (address: string): string => (address.includes(':') ? `[${address}]` : address);
/** Whether a host process of the node reaches the pod, over each family. */
const reached = (node: string): Promise<boolean[]> =>
  Promise.all(
    pods.map(async (pod) => {
      const { stdout } = await cluster.onNode(node, ['curl', '-sS', '-m', '1', `http://${literal(pod)}:8080/`]);
      return stdout.trim() === 'web';
    }),
  );
const label = async (...words: string[]): Promise<void> =>
  expect((await cluster.kubectl('label', 'node', ...words)).stderr).toBe('');
const both = (reaches: boolean) => (found: boolean[]) => found.every((one) => one === reaches) || undefined;

it('a pod is reached from nodes with a label, for as long as they have it', async () => {
  expect(await reached('node-2')).toEqual([false, false]);
  await label('node-2', 'role=gateway');
  await until('node-2 gets through', 20_000, async () => both(true)(await reached('node-2')));
  expect(await reached('node-3')).toEqual([false, false]);
  await label('node-3', 'role=gateway');
  await until('node-3 gets through', 20_000, async () => both(true)(await reached('node-3')));
  await label('node-2', 'role-');
  await until('node-2 is kept out', 20_000, async () => both(false)(await reached('node-2')));
  expect(await reached('node-3')).toEqual([true, true]);
}, 90_000);

it('an agent that starts again tells them apart as before', async () => {
  for (const pid of cluster.agentPids()) process.kill(pid, 'SIGKILL');
  await until('agents', 30_000, () => cluster.agentPids().length === 3 || undefined);
  await until('node-3 gets through', 20_000, async () => both(true)(await reached('node-3')));
  expect(await reached('node-2')).toEqual([false, false]);
}, 90_000);

it('a pod reaches the node that it may reach', async () => {
  type Node = { status: { addresses: { type: string; address: string }[] } };
  for (const [node, answers] of [
    ['node-3', true],
    ['node-2', false],
  ] as const) {
    const { addresses } = (JSON.parse((await cluster.kubectl('get', 'node', node, '-o', 'json')).stdout) as Node)
      .status;
    for (const { type, address } of addresses) {
      if (type !== 'InternalIP') continue;
      const { code } = await cluster.exec('demo/client', ['ping', '-c', '1', '-W', '1', address]);
      expect([node, address, code === 0]).toEqual([node, address, answers]);
    }
  }
}, 60_000);

it('a question without --node goes to all nodes', async () => {
  const ask = async (...words: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(AXONEME, [...words, '--name', name]);
    expect(code, stderr).toBe(0);
    return stdout;
  };
  expect(JSON.parse(await ask('endpoint', 'get', 'pod-name:demo/web'))).toMatchObject({
    node: 'node-1',
    state: 'ready',
  });
  const listed = JSON.parse(await ask('endpoint', 'list', '-o', 'json')) as { node: string }[];
  expect([...new Set(listed.map(({ node }) => node))]).toEqual(['node-1', 'node-2', 'node-3']);
  expect(await ask('policy', 'get')).toMatch(/from-gateways +valid +ingress: 1 allow +demo\/web on node-1/);
  expect(await ask('policy', 'trace', '--src', 'remote-node', '--dst', 'demo/web', '--dport', '8080')).toMatch(
    /Verdict: DENIED/,
  );
  const { code, stderr } = await run(AXONEME, ['endpoint', 'get', '1', '--name', name]);
  expect([code, stderr]).toEqual([1, expect.stringMatching(/endpoint 1 is on node-1, .*; choose one with --node/)]);
}, 30_000);
