/**
 * Two nodes with pods, wired by hand, and a router between them that knows their own addresses only: what pods of one send to pods of the
 * other gets there by tunnel, or not at all.
 *
 * - The router is the world too. Namespaces are `…1-node`, `…1-pod0`, `…2-node`, … and `…net`.
 */
import { writeFileSync } from 'node:fs';
import type { Fields } from '../datapath/codec.ts';
import { type BpfLink, createNetns, deleteNetns, withNetns } from '../native/index.ts';
import { attach, attachDatapath, type Datapath, ip, putRow, type WiredNode, wireNode } from './wired-node.ts';

export interface PairedNode extends WiredNode {
  address: { ipv4: string; ipv6: string };
  datapath: Datapath;
  /** First number of its pods' identities. */
  identityBase: number;
  put(map: string, key: unknown, value: Fields): void;
}

export interface WiredPair {
  nodes: readonly [PairedNode, PairedNode];
  world: { netns: string; ipv4: string; ipv6: string };
  remove(): void;
}

export interface PairOptions {
  podCount: number;
  /** Family of the nodes' addresses towards each other. */
  underlay: 'ipv4' | 'ipv6';
  kind?: 'vxlan' | 'geneve';
  config?: Fields;
  objectPath: string;
}

const MTU = 1500;
const overhead = { ipv4: 50, ipv6: 70 };
const ports = { vxlan: 8472, geneve: 6081 };
const tunnelNumbers = { vxlan: 1, geneve: 2 };
const OVERLAY = 1;
const nowhere = { encryptKey: 0, flags: 0, tunnelEndpoint: '' };
const addressOf = (number: number) => ({ ipv4: `192.0.2.${16 * number + 1}`, ipv6: `2001:db8:${number}::1` });
const routerOf = (number: number) => ({ ipv4: `192.0.2.${16 * number + 2}`, ipv6: `2001:db8:${number}::2` });

export function wirePair(prefix: string, options: PairOptions): WiredPair {
  const net = `/run/netns/${prefix}net`;
  const nodes: PairedNode[] = [];
  const links: BpfLink[] = [];
  const remove = () => {
    for (const link of links) link.close();
    for (const node of nodes) {
      node.datapath.close();
      node.remove();
    }
    deleteNetns(net);
  };
  try {
    createNetns(net, { loopbackUp: true });
    withNetns(net, () => {
      writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
      writeFileSync('/proc/sys/net/ipv6/conf/all/forwarding', '1');
    });
    for (const number of [1, 2]) {
      const node = wireOne(prefix, net, number, options);
      nodes.push(node);
      links.push(...attachNode(node, options));
    }
    const [one, two] = nodes;
    if (!one || !two) throw new Error('two nodes were wired');
    know(one, two, options);
    know(two, one, options);
    return { nodes: [one, two], world: { netns: net, ...routerOf(1) }, remove };
  } catch (error) {
    remove();
    throw error;
  }
}

const deviceOf = ({ kind = 'vxlan' }: PairOptions): string => `cilium_${kind}`;

function wireOne(prefix: string, net: string, number: number, options: PairOptions): PairedNode {
  const { kind = 'vxlan', podCount, underlay, objectPath, config } = options;
  const identityBase = 1000 * number;
  const node = wireNode(`${prefix}${number}-`, podCount, 110 + number);
  const [address, router] = [addressOf(number), routerOf(number)];
  const port = ports[kind];
  try {
    ip(node.netns, [
      `link add eth0 type veth peer name eth${number} netns ${net}`,
      'link set eth0 up',
      `address add ${address.ipv4}/28 dev eth0`,
      `address add ${address.ipv6}/64 dev eth0 nodad`,
      `link add ${deviceOf(options)} mtu ${MTU} type ${kind} external dstport ${port}`,
      `link set ${deviceOf(options)} up`,
    ]);
    ip(net, [
      `link set eth${number} up`,
      `address add ${router.ipv4}/28 dev eth${number}`,
      `address add ${router.ipv6}/64 dev eth${number} nodad`,
    ]);
    const mtu = MTU - overhead[underlay];
    const other = 110 + (number === 1 ? 2 : 1);
    ip(node.netns, [
      `route add default via ${router.ipv4}`,
      `-6 route add default via ${router.ipv6}`,
      // The node asks for its pods' MACs under a link-local address.
      ...node.pods.map(({ link }) => `address add fe80::1/64 dev ${link} nodad`),
      `route add 10.${other}.0.0/24 dev cilium_host mtu ${mtu}`,
      `-6 route add fd00:${other}::/64 dev cilium_host mtu ${mtu}`,
    ]);
    for (const pod of node.pods)
      ip(pod.netns, [
        `route change default via ${node.gateway.ipv4} dev eth0 mtu ${mtu}`,
        `-6 route change default via ${node.gateway.ipv6} dev eth0 mtu ${mtu}`,
      ]);
    const tunnel = { tunnel: tunnelNumbers[kind], tunnelPort: port };
    const datapath = attachDatapath(node, objectPath, { ...tunnel, ...config }, identityBase);
    const put = (map: string, key: unknown, value: Fields) => putRow(datapath.object, node.netns, map, key, value);
    return { ...node, address, datapath, identityBase, put };
  } catch (error) {
    node.remove();
    throw error;
  }
}

function attachNode(node: PairedNode, options: PairOptions): BpfLink[] {
  const { netns, datapath, address, gateway, put } = node;
  const device = deviceOf(options);
  const mac = '00:00:00:00:00:00';
  put('netdevs', 'eth0', { ...address, mac, flags: 0 });
  put('netdevs', device, { ...gateway, mac, flags: 0 });
  put('devices', OVERLAY, { link: device, mtu: MTU - overhead[options.underlay] });
  for (const own of [address.ipv4, address.ipv6]) put('ipcache', wholeOf(own), { ...nowhere, identity: 1 });
  const program = (name: string) => datapath.object.program(name);
  return [
    ...attach(netns, 'eth0', program('from_netdev'), 'ingress'),
    ...attach(netns, 'eth0', program('to_netdev'), 'egress'),
    ...attach(netns, device, program('from_overlay'), 'ingress'),
    ...attach(netns, 'cilium_host', program('from_host'), 'egress'),
  ];
}

const wholeOf = (address: string): string => `${address}/${address.includes(':') ? 128 : 32}`;

/** The rows that one node has of another. */
function know(one: PairedNode, other: PairedNode, { underlay }: PairOptions): void {
  const there = { ...nowhere, tunnelEndpoint: other.address[underlay] };
  other.pods.forEach(({ ipv4, ipv6 }, index) => {
    for (const address of [ipv4, ipv6])
      one.put('ipcache', wholeOf(address), { ...there, identity: other.identityBase + index });
  });
  for (const address of [other.address.ipv4, other.address.ipv6, other.gateway.ipv4, other.gateway.ipv6])
    one.put('ipcache', wholeOf(address), { ...there, identity: 6 });
  one.put('ipcache', `${other.gateway.ipv4.replace(/1$/, '0')}/24`, { ...there, identity: 9 });
  one.put('ipcache', `${other.gateway.ipv6.replace(/1$/, '')}/64`, { ...there, identity: 10 });
}
