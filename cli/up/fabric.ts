/**
 * The network below the cluster: a namespace with a bridge, to which each node's namespace is plugged.
 *
 * - The bridge is every node's router. Whether it knows which node has which pod range, as a cloud's network would, is the cluster's choice.
 * - Behind it is "outside": addresses of no node and no pod, which know the way back to nodes' own addresses.
 */

import { writeFileSync } from 'node:fs';
import { createNetns, withNetns } from '../../native/index.ts';
import { ipBatch } from './command.ts';
import { fabricAddress, fabricNetns, netnsPath, nodeAddress, nodeName, nodeNetns, OUTSIDE, podCidrs } from './names.ts';

const BRIDGE = 'br0';
/** The node's only way out. */
export const NODE_DEVICE = 'eth0';

export async function createFabric(cluster: string, slot: number): Promise<void> {
  const netns = fabricNetns(cluster);
  createNetns(netnsPath(netns), { loopbackUp: true });
  const own = fabricAddress(slot);
  await ipBatch(netns, [
    `link add ${BRIDGE} type bridge`,
    `link set ${BRIDGE} up`,
    `address add ${own.ipv4}/24 dev ${BRIDGE}`,
    `address add ${own.ipv6}/64 dev ${BRIDGE} nodad`,
    `address add ${OUTSIDE.ipv4}/32 dev lo`,
    `address add ${OUTSIDE.ipv6}/128 dev lo nodad`,
  ]);
  withNetns(netnsPath(netns), () => {
    writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
    // A node that returns directly sends packets of "outside" on: its addresses are the router's own, which are forwarded even so.
    writeFileSync('/proc/sys/net/ipv4/conf/all/accept_local', '1');
    writeFileSync('/proc/sys/net/ipv6/conf/all/forwarding', '1');
  });
}

/** `knowsPods`: the fabric routes the node's pod range to it. */
export async function createNode(cluster: string, slot: number, index: number, knowsPods: boolean): Promise<void> {
  const netns = nodeNetns(cluster, nodeName(index));
  const port = `node${index + 1}`;
  const own = nodeAddress(slot, index);
  const router = fabricAddress(slot);
  const pods = podCidrs(index);
  createNetns(netnsPath(netns), { loopbackUp: true });
  await ipBatch(fabricNetns(cluster), [
    `link add ${port} type veth peer name ${NODE_DEVICE} netns ${netns}`,
    `link set ${port} master ${BRIDGE} up`,
  ]);
  await ipBatch(netns, [
    `link set ${NODE_DEVICE} up`,
    `address add ${own.ipv4}/24 dev ${NODE_DEVICE}`,
    `address add ${own.ipv6}/64 dev ${NODE_DEVICE} nodad`,
    `route add default via ${router.ipv4}`,
    `route add default via ${router.ipv6}`,
  ]);
  if (!knowsPods) return;
  await ipBatch(fabricNetns(cluster), [
    `route add ${pods.ipv4} via ${own.ipv4}`,
    `route add ${pods.ipv6} via ${own.ipv6}`,
  ]);
}
