/** The ways from a pod to a pod of another node that the benchmark compares: by hand with the kernel alone, and embedded clusters of ours. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createNetns, deleteNetns, withNetns } from '../../native/index.ts';
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
const VNI = 42;
const VXLAN_OVERHEAD = 50;
const MTU = 1_500;

const pathOf = (netns: string): string => `/run/netns/${netns}`;
/** Of the nodes 0 and 1 and of their pods; the router of the network between them has 1 where nodes have 10 and 11. */
const nodeAddress = (index: number) => ({ ipv4: `172.28.200.${index + 10}`, ipv6: `fd00:28:c8::${index + 10}` });
const podAddress = (index: number, host: number) => ({
  ipv4: `10.0.${index + 1}.${host}`,
  ipv6: `fd00:10:0:${index + 1}::${host}`,
});

function ip(netns: string, lines: readonly string[]): void {
  execFileSync('ip', ['-netns', netns, '-batch', '-'], { input: `${lines.join('\n')}\n` });
}

/** The same namespaces as an embedded cluster has, and nothing but routes in them. */
export const plainRouting = async (): Promise<NodesPath> => byHand('plain routing', `${prefix}-plain`, true, () => []);

/** One VXLAN device with a fixed peer, as `ip link` makes it. */
export const kernelVxlan = async (): Promise<NodesPath> =>
  byHand('kernel VXLAN', `${prefix}-kvx`, false, (here, there) => [
    `link add vx0 type vxlan id ${VNI} dstport 8472 local ${nodeAddress(here).ipv4} remote ${nodeAddress(there).ipv4} noudpcsum`,
    `link set vx0 up mtu ${MTU - VXLAN_OVERHEAD}`,
    `address add 192.168.77.${here + 1}/24 dev vx0`,
    `address add fd00:77::${here + 1}/64 dev vx0 nodad`,
    `route add 10.0.${there + 1}.0/24 via 192.168.77.${there + 1} dev vx0`,
    `route add fd00:10:0:${there + 1}::/64 via fd00:77::${there + 1} dev vx0`,
  ]);

/** `knowsPods`: the network between the nodes routes their pod ranges. */
function byHand(
  name: string,
  stem: string,
  knowsPods: boolean,
  between: (here: number, there: number) => string[],
): NodesPath {
  const made: string[] = [];
  const make = (what: string): string => {
    const netns = `${stem}-${what}`;
    createNetns(pathOf(netns), { loopbackUp: true });
    made.push(netns);
    return netns;
  };
  const close = async (): Promise<void> => {
    for (const netns of made) deleteNetns(pathOf(netns));
  };
  try {
    const fabric = make('fabric');
    ip(fabric, [
      'link add br0 type bridge',
      'link set br0 up',
      'address add 172.28.200.1/24 dev br0',
      'address add fd00:28:c8::1/64 dev br0 nodad',
    ]);
    forward(fabric);
    const pods = [0, 1].map((index) => {
      const [node, pod] = [make(`node-${index + 1}`), make(`pod-${index + 1}`)];
      const [own, its, gateway] = [nodeAddress(index), podAddress(index, 2), podAddress(index, 1)];
      ip(fabric, [
        `link add node${index} type veth peer name eth0 netns ${node}`,
        `link set node${index} master br0 up`,
        ...(knowsPods ? [`route add 10.0.${index + 1}.0/24 via ${own.ipv4}`] : []),
        ...(knowsPods ? [`route add fd00:10:0:${index + 1}::/64 via ${own.ipv6}`] : []),
      ]);
      ip(node, [
        'link set eth0 up',
        `address add ${own.ipv4}/24 dev eth0`,
        `address add ${own.ipv6}/64 dev eth0 nodad`,
        'route add default via 172.28.200.1',
        'route add default via fd00:28:c8::1',
        `link add pod0 type veth peer name eth0 netns ${pod}`,
        'link set pod0 up',
        `address add ${gateway.ipv4}/24 dev pod0`,
        `address add ${gateway.ipv6}/64 dev pod0 nodad`,
        ...between(index, 1 - index),
      ]);
      forward(node);
      ip(pod, [
        'link set eth0 up',
        `address add ${its.ipv4}/24 dev eth0`,
        `address add ${its.ipv6}/64 dev eth0 nodad`,
        `route add default via ${gateway.ipv4}`,
        `route add default via ${gateway.ipv6}`,
      ]);
      return pathOf(pod);
    });
    const [client = '', netns = ''] = pods;
    return { name, client, server: { netns, ...podAddress(1, 2) }, close };
  } catch (error) {
    void close();
    throw error;
  }
}

function forward(netns: string): void {
  withNetns(pathOf(netns), () => {
    writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
    writeFileSync('/proc/sys/net/ipv6/conf/all/forwarding', '1');
  });
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
    const found = readdirSync('/run/netns').find((one) => one.startsWith(`axo-${cluster}.bench.${pod}.`));
    if (found === undefined) throw new Error(`pod ${pod} has no namespace`);
    return pathOf(found);
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
