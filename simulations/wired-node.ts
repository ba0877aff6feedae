/**
 * A node with pods, wired by hand with `ip` as the agent wires them: for measuring and for kernels of the lab, where the programs
 * are looked at without the agent.
 *
 * - One namespace for the node and one for each pod, all named with the given prefix; `remove` takes them all away.
 * - Pods have /32 and /128 addresses, a default route via the gateway, and the node a route to each of them.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { Codecs, encode, type Fields } from '../datapath/codec.ts';
import { LinksDriver } from '../datapath/drivers/links.ts';
import { linkNames } from '../datapath/link-names.ts';
import { rodataOf } from '../datapath/runtime-config.ts';
import {
  attachTc,
  attachTcx,
  type BpfLink,
  type BpfObject,
  type BpfProgram,
  createNetns,
  type Direction,
  deleteNetns,
  openObject,
  supportsTcx,
  withNetns,
} from '../native/index.ts';
import type { LinkRow } from '../state/tables.ts';

export interface WiredPod {
  netns: string;
  /** Host side of its veth, in the node's namespace. */
  link: string;
  mac: string;
  hostMac: string;
  ipv4: string;
  ipv6: string;
}

export interface WiredNode {
  netns: string;
  pods: WiredPod[];
  /** Address of the node towards its pods, on cilium_host. */
  gateway: { ipv4: string; ipv6: string };
  remove(): void;
}

/** Of pods' addresses: 10.SUBNET.0.0/24 and fd00:SUBNET::/64. */
const SUBNET = 111;
const MTU = 1500;
const hex = (number: number) => number.toString(16).padStart(2, '0');

export function wireNode(
  prefix: string,
  podCount: number,
  subnet = SUBNET,
  device: LinkRow['kind'] = 'veth',
): WiredNode {
  const gateway = { ipv4: `10.${subnet}.0.1`, ipv6: `fd00:${subnet}::1` };
  const netns = `/run/netns/${prefix}node`;
  const pods = Array.from(
    { length: podCount },
    (_, index): WiredPod => ({
      netns: `/run/netns/${prefix}pod${index}`,
      link: `lxc${index}`,
      mac: `02:00:00:00:01:${hex(index)}`,
      hostMac: `02:00:00:00:02:${hex(index)}`,
      ipv4: `10.${subnet}.0.${2 + index}`,
      ipv6: `fd00:${subnet}::${(2 + index).toString(16)}`,
    }),
  );
  const remove = () => {
    for (const path of [...pods.map((pod) => pod.netns), netns]) deleteNetns(path);
  };
  try {
    createNetns(netns, { loopbackUp: true });
    withNetns(netns, () => {
      writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
      writeFileSync('/proc/sys/net/ipv6/conf/all/forwarding', '1');
    });
    ip(netns, [
      'link add cilium_host type veth peer name cilium_net',
      'link set cilium_host up',
      `address add ${gateway.ipv4}/32 dev cilium_host`,
      `address add ${gateway.ipv6}/128 dev cilium_host nodad`,
    ]);
    for (const pod of pods) wirePod(netns, pod, gateway, device);
  } catch (error) {
    remove();
    throw error;
  }
  return { netns, pods, gateway, remove };
}

function wirePod(node: string, pod: WiredPod, gateway: WiredNode['gateway'], kind: LinkRow['kind']): void {
  createNetns(pod.netns, { loopbackUp: true });
  const { link, mac, hostMac, netns } = pod;
  const row: LinkRow = { kind, mac: hostMac, mtu: MTU, peer: { name: 'eth0', mac, netns } };
  // As the agent makes it: `ip` of Debian 12 knows no netkit.
  const op = {
    table: 'links',
    action: 'put',
    key: link,
    value: row,
    before: undefined,
    revision: 1,
    owners: [],
  } as const;
  const [failed] = new LinksDriver(node).apply([op]);
  if (failed) throw new Error(failed.message);
  ip(node, [
    // No link-local address, so that no neighbour discovery of the node's own disturbs a measurement.
    `link set ${pod.link} down`,
    `link set ${pod.link} addrgenmode none`,
    `link set ${pod.link} up`,
    `route add ${pod.ipv4}/32 dev ${pod.link}`,
    `route add ${pod.ipv6}/128 dev ${pod.link}`,
  ]);
  ip(pod.netns, [
    `address add ${pod.ipv4}/32 dev eth0`,
    `address add ${pod.ipv6}/128 dev eth0 nodad`,
    'link set eth0 up',
    `route add ${gateway.ipv4}/32 dev eth0`,
    `route add default via ${gateway.ipv4} dev eth0`,
    `-6 route add ${gateway.ipv6}/128 dev eth0`,
    `-6 route add default via ${gateway.ipv6} dev eth0`,
  ]);
}

/** Runs `ip` commands inside a namespace. */
export function ip(netns: string, commands: readonly string[]): void {
  // Not `ip -batch`, which takes no -6 on a line.
  withNetns(netns, () => {
    for (const command of commands) execFileSync('ip', command.split(' '), { stdio: ['ignore', 'ignore', 'inherit'] });
  });
}

export interface Datapath {
  object: BpfObject;
  close(): void;
}

/** Loads the programs (`config`: what differs from the compiled one), writes the rows that the agent would write for these pods, and attaches them. */
export function attachDatapath(
  node: WiredNode,
  objectPath: string,
  config: Fields = {},
  identityBase = 1000,
): Datapath {
  const object = openObject(objectPath);
  const links: BpfLink[] = [];
  try {
    object.setRodata('config', rodataOf(readFileSync(objectPath), object.btf(), 'config', config).bytes);
    object.load();
    const put = (map: string, key: unknown, value: Fields) => putRow(object, node.netns, map, key, value);
    node.pods.forEach((pod, index) => {
      const identity = identityBase + index;
      for (const address of [pod.ipv4, pod.ipv6]) {
        const { link, mac, hostMac } = pod;
        put('endpoints', address, { link, identity, id: index + 1, flags: 0, policyRevision: 1, mac, hostMac });
        const bits = address.includes(':') ? 128 : 32;
        put('ipcache', `${address}/${bits}`, { identity, tunnelEndpoint: '', encryptKey: 0, flags: 0 });
      }
      links.push(...attach(node.netns, pod.link, object.program('from_endpoint'), 'ingress'));
      links.push(...attach(node.netns, pod.link, object.program('to_endpoint'), 'egress'));
    });
    for (const [family, bits] of [
      ['ipv4', 32],
      ['ipv6', 128],
    ] as const)
      put('ipcache', `${node.gateway[family]}/${bits}`, { identity: 1, tunnelEndpoint: '', encryptKey: 0, flags: 0 });
  } catch (error) {
    for (const link of links) link.close();
    object.close();
    throw error;
  }
  return {
    object,
    close: () => {
      for (const link of links) link.close();
      object.close();
    },
  };
}

/** As a row of the agent: addresses and links by their names. */
export function putRow(object: BpfObject, netns: string, map: string, key: unknown, value: Fields): void {
  const codecs = new Codecs(object.btf(), linkNames(netns));
  const codec = codecs.map(map);
  const keyCodec = map === 'netdevs' ? codecs.link() : codec.key;
  object.map(map).put(encode<unknown>(keyCodec, key), encode(codec.value, value));
}

/** A link that detaches when closed; before tcx a filter, which goes with the device. */
export function attach(netns: string, link: string, program: BpfProgram, direction: Direction): BpfLink[] {
  if (supportsTcx()) return [attachTcx({ netns, link, program, direction })];
  attachTc({ netns, link, program, direction });
  return [];
}
