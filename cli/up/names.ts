/**
 * What an embedded cluster calls things and which addresses it gives them; pure.
 *
 * - Everything outside the processes bears the cluster's name, so that it can be found and swept by name alone.
 * - A cluster's name is a DNS label and `.` ends it, so the names of `a` are no prefix of those of `a-b`.
 */
import { createHash } from 'node:crypto';

/** Also keeps the unix sockets below the state directory within `sun_path`. */
const NAME = /^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$/;
export const NAME_EXPECTED = 'a DNS label of at most 32 characters';
export const isClusterName = (name: string): boolean => NAME.test(name);

export const RUN_ROOT = '/run/axoneme';
export const PIN_ROOT = '/sys/fs/bpf/axoneme';
export const NETNS_ROOT = '/run/netns';

export const stateDirOf = (cluster: string): string => `${RUN_ROOT}/${cluster}`;
export const pinDirOf = (cluster: string): string => `${PIN_ROOT}/${cluster}`;
export const netnsPath = (netns: string): string => `${NETNS_ROOT}/${netns}`;
/** Every namespace of the cluster starts with this. */
export const netnsPrefix = (cluster: string): string => `axo-${cluster}.`;
export const fabricNetns = (cluster: string): string => `${netnsPrefix(cluster)}fabric`;
export const nodeNetns = (cluster: string, node: string): string => `${netnsPrefix(cluster)}${node}`;

/** Of the node's health endpoint; no pod's namespace has such a name, which ends in a dot and a hash. */
export const healthNetns = (cluster: string, node: string): string => `${nodeNetns(cluster, node)}-health`;

/** NAME_MAX is 255; this stays readable in a terminal. */
const POD_PART_MAX = 60;

/** The uid tells a pod from the one of the same name that it replaces. */
export function podNetns(cluster: string, namespace: string, pod: string, uid: string): string {
  const full = `${namespace}.${pod}`;
  const part = full.length <= POD_PART_MAX ? full : `${full.slice(0, POD_PART_MAX - 9)}-${hash(full, 8)}`;
  return `${netnsPrefix(cluster)}${part}.${hash(uid, 5)}`;
}

function hash(text: string, digits: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, digits);
}

export const nodeName = (index: number): string => `node-${index + 1}`;
/** Nodes are in three zones, in turn. */
export const zoneName = (index: number): string => `zone-${'abc'[index % 3]}`;

/** Each running cluster holds a slot, from which its underlay is numbered. */
export const SLOTS = 200;
export const NODES_MAX = 200;

/** The world outside the cluster, as documentation ranges have it (RFC 5737, RFC 3849). */
export const OUTSIDE = { ipv4: '203.0.113.10', ipv6: '2001:db8:113::10' };
/** The ranges of pods, cut into one piece per node. */
export const POD_RANGE = { ipv4: '10.0.0.0/16', ipv6: 'fd00:10::/48' };
/** Addresses of load balancers, as documentation ranges have them. */
export const LOAD_BALANCER_RANGE = { ipv4: '198.51.100.0/24', ipv6: '2001:db8:51::/120' };
export const SERVICE_RANGE = { ipv4: '10.96.0.0/16', ipv6: 'fd00:10:96::/112' };
/** The API server as pods see it: the first address of the range. */
export const KUBERNETES_SERVICE = '10.96.0.1';

export interface Pair {
  ipv4: string;
  ipv6: string;
}

export const podCidrs = (index: number): Pair => ({
  ipv4: `10.0.${index + 1}.0/24`,
  ipv6: `fd00:10:0:${(index + 1).toString(16)}::/64`,
});

/** Addresses on the bridge that joins the nodes; prefix lengths are 24 and 64. No group is zero, so the text is canonical. */
const underlay = (slot: number, host: number): Pair => ({
  ipv4: `172.28.${slot + 1}.${host}`,
  ipv6: `fd00:28:${(slot + 1).toString(16)}::${host.toString(16)}`,
});
/** Of the ranges of load balancers, the first left out. */
export const loadBalancerAddress = (index: number): Pair => ({
  ipv4: `198.51.100.${index + 1}`,
  ipv6: `2001:db8:51::${(index + 1).toString(16)}`,
});
export const fabricAddress = (slot: number): Pair => underlay(slot, 1);
export const nodeAddress = (slot: number, index: number): Pair => underlay(slot, index + 10);
