/** The ways from a pod to a pod of another node that the benchmark compares: by hand with the kernel alone, and embedded clusters of ours. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFabric, createNode } from '../../cli/up/fabric.ts';
import { NETNS_ROOT, netnsPath, netnsPrefix, nodeAddress, nodeName, nodeNetns, podCidrs } from '../../cli/up/names.ts';
import { sweep } from '../../cli/up/sweep.ts';
import { createNetns } from '../../native/index.ts';
import { commandPod, EmbeddedCluster, namespaceOf } from '../stories/embedded.ts';

export interface NodesPath {
  name: string;
  /** Path of the client's namespace. */
  client: string;
  server: { netns: string; ipv4: string; ipv6: string };
  close(): Promise<void>;
}

/** Of this run: two may go on at once. */
const prefix = `axb-${process.pid}`;
/** Nobody else sees these addresses: each fabric is a namespace. */
const SLOT = 199;
const VNI = 42;
const VXLAN_OVERHEAD = 50;
const MTU = 1_500;

const podOf = (cidrs: { ipv4: string; ipv6: string }) => ({
  ipv4: cidrs.ipv4.replace('.0/24', '.2'),
  ipv6: cidrs.ipv6.replace('/64', '2'),
});
const gatewayOf = (cidrs: { ipv4: string; ipv6: string }) => ({
  ipv4: cidrs.ipv4.replace('.0/24', '.1'),
  ipv6: cidrs.ipv6.replace('/64', '1'),
});

function ip(netns: string, lines: readonly string[]): void {
  execFileSync('ip', ['-netns', netns, '-batch', '-'], { input: `${lines.join('\n')}\n` });
}

/** The same namespaces as an embedded cluster has, and nothing but routes in them. */
export const plainRouting = (): Promise<NodesPath> => byHand('plain routing', `${prefix}-plain`, true, () => []);

/** One VXLAN device with a fixed peer, as `ip link` makes it. */
export const kernelVxlan = (): Promise<NodesPath> =>
  byHand('kernel VXLAN', `${prefix}-kvx`, false, (here, there) => [
    `link add vx0 type vxlan id ${VNI} dstport 8472 local ${nodeAddress(SLOT, here).ipv4} remote ${nodeAddress(SLOT, there).ipv4} noudpcsum`,
    `link set vx0 up mtu ${MTU - VXLAN_OVERHEAD}`,
    `address add 192.168.77.${here + 1}/24 dev vx0`,
    `address add fd00:77::${here + 1}/64 dev vx0 nodad`,
    `route add ${podCidrs(there).ipv4} via 192.168.77.${there + 1} dev vx0`,
    `route add ${podCidrs(there).ipv6} via fd00:77::${there + 1} dev vx0`,
  ]);

async function byHand(
  name: string,
  cluster: string,
  knowsPods: boolean,
  between: (here: number, there: number) => string[],
): Promise<NodesPath> {
  const close = (): Promise<void> => sweep(cluster);
  const podNetns = (index: number): string => `${netnsPrefix(cluster)}pod-${index + 1}`;
  try {
    await createFabric(cluster, SLOT);
    for (const index of [0, 1]) {
      await createNode(cluster, SLOT, index, knowsPods);
      const [node, pod] = [nodeNetns(cluster, nodeName(index)), podNetns(index)];
      const [own, gateway] = [podOf(podCidrs(index)), gatewayOf(podCidrs(index))];
      createNetns(netnsPath(pod), { loopbackUp: true });
      ip(node, [
        `link add pod0 type veth peer name eth0 netns ${pod}`,
        'link set pod0 up',
        `address add ${gateway.ipv4}/24 dev pod0`,
        `address add ${gateway.ipv6}/64 dev pod0 nodad`,
        ...between(index, 1 - index),
      ]);
      ip(pod, [
        'link set eth0 up',
        `address add ${own.ipv4}/24 dev eth0`,
        `address add ${own.ipv6}/64 dev eth0 nodad`,
        `route add default via ${gateway.ipv4}`,
        `route add default via ${gateway.ipv6}`,
      ]);
      execFileSync('nsenter', [
        `--net=${netnsPath(node)}`,
        ...['sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding'],
      ]);
    }
  } catch (error) {
    await close();
    throw error;
  }
  const server = { netns: netnsPath(podNetns(1)), ...podOf(podCidrs(1)) };
  return { name, client: netnsPath(podNetns(0)), server, close };
}

/** Two nodes of ours, with their agents running and nobody probing. */
export async function axoneme(name: string, flags: string[]): Promise<NodesPath> {
  const dir = mkdtempSync(join(tmpdir(), `${prefix}-`));
  const cluster = `${prefix}-${name.replaceAll(/[^a-z0-9]+/g, '-')}`;
  const config = join(dir, 'agent.json');
  writeFileSync(config, JSON.stringify({ health: { enabled: false } }));
  const onNode = (pod: string, node: string): string =>
    commandPod('bench', pod, ['sleep', 'infinity']).replace('spec:\n', `spec:\n  nodeName: ${node}\n`);
  const manifests = namespaceOf('bench') + onNode('client', 'node-1') + onNode('server', 'node-2');
  const running = await EmbeddedCluster.up(cluster, manifests, ['--nodes', '2', '--agent-config', config, ...flags]);
  const close = async (): Promise<void> => {
    await running.down();
    rmSync(dir, { recursive: true, force: true });
  };
  const netnsOf = (pod: string): string => {
    const found = readdirSync(NETNS_ROOT).find((one) => one.startsWith(`${netnsPrefix(cluster)}bench.${pod}.`));
    if (found === undefined) throw new Error(`pod ${pod} has no namespace`);
    return netnsPath(found);
  };
  try {
    const { status } = await running.core.readNamespacedPod({ namespace: 'bench', name: 'server' });
    const [ipv4 = '', ipv6 = ''] = (status?.podIPs ?? []).map((one) => one.ip ?? '');
    return { name, client: netnsOf('client'), server: { netns: netnsOf('server'), ipv4, ipv6 }, close };
  } catch (error) {
    await close();
    throw error;
  }
}
