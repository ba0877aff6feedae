/** A policy of the node with real packets: who reaches its processes, from its pods and from outside, over both families. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fabricNetns, netnsPath, OUTSIDE } from '../../cli/up/names.ts';
import { commandPod, EmbeddedCluster, leftovers, namespaceOf, run, serverPod, until } from './embedded.ts';

const name = `axt-${process.pid}-hostpol`;
const folder = mkdtempSync(join(tmpdir(), `${name}-`));
let cluster: EmbeddedCluster;
let nodeAddresses: string[];

/** Ports 8081 and 8082 of the node itself. */
const hostServer = (port: number): string => `apiVersion: v1
kind: Pod
metadata: {name: host-${port}, namespace: shop, labels: {app: host}}
spec:
  hostNetwork: true
  containers: [{name: server, image: built-in, ports: [{containerPort: ${port}}]}]
---
`;
const policy = {
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumClusterwideNetworkPolicy',
  metadata: { name: 'node' },
  spec: {
    nodeSelector: {},
    ingress: [
      {
        fromEndpoints: [{ matchLabels: { app: 'friend', 'k8s:io.kubernetes.pod.namespace': 'shop' } }],
        toPorts: [{ ports: [{ port: '8081', protocol: 'TCP' }] }],
      },
    ],
  },
};

beforeAll(async () => {
  const config = join(folder, 'agent.json');
  writeFileSync(config, JSON.stringify({ policy: { hostFirewall: true } }));
  const client = (pod: string): string => commandPod('shop', pod, ['sleep', 'infinity']);
  const pods = [hostServer(8081), hostServer(8082), serverPod('shop', 'server'), client('friend'), client('stranger')];
  cluster = await EmbeddedCluster.up(name, namespaceOf('shop') + pods.join(''), ['--agent-config', config]);
  const { items } = await cluster.core.listNamespacedPod({ namespace: 'shop' });
  nodeAddresses = (items.find(({ metadata }) => metadata?.name === 'host-8081')?.status?.hostIPs ?? []).map(
    ({ ip = '' }) => (ip.includes(':') ? `[${ip}]` : ip),
  );
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  rmSync(folder, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

const node = (): string => cluster.ready.nodes[0]?.name ?? '';
const get = (url: string): string[] => ['curl', '-sS', '-m', '1', url];
const bracketed = (address: string): string => (address.includes(':') ? `[${address}]` : address);

/** From beyond the native device, over both families. */
const outsideReaches = (port: number): Promise<boolean[]> =>
  Promise.all(
    nodeAddresses.map(async (address) => {
      const own = address.includes(':') ? OUTSIDE.ipv6 : OUTSIDE.ipv4;
      const netns = `--net=${netnsPath(fabricNetns(name))}`;
      const { code } = await run('nsenter', [netns, ...get(`http://${address}:${port}/`), '--interface', own]);
      return code === 0;
    }),
  );
const nodeReaches = (addresses: readonly string[], port: number): Promise<boolean[]> =>
  Promise.all(
    addresses.map(
      async (address) => (await cluster.onNode(node(), get(`http://${bracketed(address)}:${port}/`))).code === 0,
    ),
  );
async function apply(object: object): Promise<void> {
  const file = join(folder, 'policy.json');
  writeFileSync(file, JSON.stringify(object));
  const { code, stderr } = await cluster.kubectl('apply', '-f', file);
  expect(code, stderr).toBe(0);
}
const whenReached = (what: string, wanted: readonly boolean[], probe: () => Promise<boolean[]>) =>
  until(what, 20_000, async () => ((await probe()).join() === wanted.join() ? true : undefined));

const reaches = (pod: string, port: number): Promise<boolean[]> =>
  Promise.all(
    nodeAddresses.map(async (address) => {
      const { code } = await cluster.exec(`shop/${pod}`, ['curl', '-sS', '-m', '1', `http://${address}:${port}/`]);
      return code === 0;
    }),
  );

it('without a policy everybody reaches the node', async () => {
  expect(nodeAddresses).toHaveLength(2);
  expect([await reaches('friend', 8081), await reaches('stranger', 8082)]).toEqual([
    [true, true],
    [true, true],
  ]);
});

it('with one, only who and what it allows; the node goes on talking to the API server and its pods', async () => {
  const file = join(folder, 'policy.json');
  writeFileSync(file, JSON.stringify(policy));
  const { code, stderr } = await cluster.kubectl('apply', '-f', file);
  expect(code, stderr).toBe(0);
  await until('policy in force', 10_000, async () => ((await reaches('stranger', 8081))[0] ? undefined : true));
  expect([await reaches('friend', 8081), await reaches('friend', 8082), await reaches('stranger', 8081)]).toEqual([
    [true, true],
    [false, false],
    [false, false],
  ]);
  // Its agent still hears of objects, over connections that it began.
  await cluster.kubectl('delete', 'ciliumclusterwidenetworkpolicy', 'node');
  await until('policy gone', 10_000, async () => ((await reaches('stranger', 8081))[0] ? true : undefined));
}, 60_000);

it('from outside, at the native device: only what it allows, by address and port', async () => {
  expect(await outsideReaches(8081)).toEqual([true, true]);
  const fromCIDR = [`${OUTSIDE.ipv4}/32`, `${OUTSIDE.ipv6}/128`];
  const ports = [{ ports: [{ port: '8082', protocol: 'TCP' }] }];
  await apply({
    ...policy,
    spec: { nodeSelector: {}, ingress: [...policy.spec.ingress, { fromCIDR, toPorts: ports }] },
  });
  await whenReached('closed to outside', [false, false], () => outsideReaches(8081));
  await until('its status names the node', 20_000, async () => {
    const { stdout } = await cluster.kubectl('get', 'ccnp', '-o', 'jsonpath={.items[0].status.nodes}');
    return stdout === JSON.stringify({ [node()]: { enforcing: true, ok: true } }) || undefined;
  });
  await whenReached('open to outside', [true, true], () => outsideReaches(8082));
  expect(await reaches('friend', 8081)).toEqual([true, true]);
  await cluster.kubectl('delete', 'ciliumclusterwidenetworkpolicy', 'node');
  await whenReached('policy gone', [true, true], () => outsideReaches(8081));
}, 90_000);

it('what the node sends: to the world and to its own pods', async () => {
  const { items } = await cluster.core.listNamespacedPod({ namespace: 'shop' });
  const server = items.find(({ metadata }) => metadata?.name === 'server');
  const pod = (server?.status?.podIPs ?? []).map(({ ip = '' }) => ip);
  const world = [OUTSIDE.ipv4, OUTSIDE.ipv6];
  await whenReached('the pod', [true, true], () => nodeReaches(pod, 8080));
  await whenReached('the world', [true, true], () => nodeReaches(world, 80));
  const toPorts = (port: string) => [{ ports: [{ port, protocol: 'TCP' }] }];
  const egressDeny = [
    {
      toEndpoints: [{ matchLabels: { app: 'server', 'k8s:io.kubernetes.pod.namespace': 'shop' } }],
      toPorts: toPorts('8080'),
    },
    { toEntities: ['world'], toPorts: toPorts('80') },
  ];
  await apply({ ...policy, spec: { nodeSelector: {}, enableDefaultDeny: { egress: false }, egressDeny } });
  await whenReached('not the pod', [false, false], () => nodeReaches(pod, 8080));
  await whenReached('not the world', [false, false], () => nodeReaches(world, 80));
  await cluster.kubectl('delete', 'ciliumclusterwidenetworkpolicy', 'node');
  await whenReached('the pod again', [true, true], () => nodeReaches(pod, 8080));
}, 90_000);
