// SPDX-License-Identifier: Apache-2.0
/**
 * What comes by a device like WireGuard's, which has no Ethernet header: VXLAN-GPE stands in for it where the kernel has no WireGuard, and a
 * UDP socket for the other node. (The way there is in encryption.test.ts, and under real WireGuard in the lab.)
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BpfLink, bindUdp, createNetns, deleteNetns } from '../../native/index.ts';
import {
  attach,
  attachDatapath,
  type Datapath,
  ip,
  putRow,
  type WiredNode,
  wireNode,
} from '../../simulations/wired-node.ts';
import { ip as packet, udp } from './packet.ts';

const prefix = `axt-${process.pid}-wg-`;
const peer = { netns: `/run/netns/${prefix}peer`, ipv4: '192.0.2.2', ipv6: '2001:db8:7::2' };
const native = { ipv4: '192.0.2.1', ipv6: '2001:db8:7::1', mac: '00:00:00:00:00:00', flags: 0 };
const remote = { ipv4: '10.112.0.2', ipv6: 'fd00:112::2' };
const WIREGUARD = 2;
const PORT = 4790;
const ETHERNET_BYTES = 14;
/** Next protocol and VNI are there; then the protocol, and VNI 7. */
const header = (v6: boolean) => Buffer.from([0x0c, 0, 0, v6 ? 2 : 1, 0, 0, 7, 0]);
const identities = { remote: 2000, node2: 6 };
const families = ['ipv4', 'ipv6'] as const;

let node: WiredNode;
let datapath: Datapath;
let far: Socket;
const links: BpfLink[] = [];
const sockets: Socket[] = [];

const socketAt = async (netns: string, address: string, port: number): Promise<Socket> => {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  sockets.push(socket);
  const listening = once(socket, 'listening');
  socket.bind({ fd: bindUdp({ netns, address, port }) });
  await listening;
  return socket;
};
const received = async (socket: Socket): Promise<Buffer> =>
  ((await once(socket, 'message', { signal: AbortSignal.timeout(8000) })) as [Buffer])[0];
/** As the far end of the device sends it. */
const arrive = (frame: Buffer, v6: boolean) =>
  far.send(Buffer.concat([header(v6), frame.subarray(ETHERNET_BYTES)]), PORT, native.ipv4);

beforeAll(async () => {
  node = wireNode(prefix, 1);
  createNetns(peer.netns, { loopbackUp: true });
  ip(node.netns, [
    `link add eth0 type veth peer name eth0 netns ${peer.netns}`,
    'link set eth0 up',
    `address add ${native.ipv4}/24 dev eth0`,
    `address add ${native.ipv6}/64 dev eth0 nodad`,
    `route add 10.112.0.0/24 via ${peer.ipv4}`,
    `-6 route add fd00:112::/64 via ${peer.ipv6}`,
    `link add cilium_wg0 mtu 1420 type vxlan external dstport ${PORT} gpe`,
    'link set cilium_wg0 up',
    ...node.pods.map(({ link }) => `address add fe80::1/64 dev ${link} nodad`),
  ]);
  ip(peer.netns, [
    'link set eth0 up',
    `address add ${peer.ipv4}/24 dev eth0`,
    `address add ${peer.ipv6}/64 dev eth0 nodad`,
  ]);
  const strict = { encryptionStrict: 1, strictIpv4: '10.0.0.0/8', strictIpv6: 'fd00::/16' };
  datapath = attachDatapath(node, join(import.meta.dirname, '../build/datapath.o'), { encryption: 1, ...strict });
  const { object } = datapath;
  const put = (map: string, key: unknown, value: Record<string, unknown>) =>
    putRow(object, node.netns, map, key, value);
  const row = { tunnelEndpoint: '', encryptKey: 0, flags: 0 };
  put('netdevs', 'eth0', native);
  put('netdevs', 'cilium_wg0', native);
  put('devices', WIREGUARD, { link: 'cilium_wg0', mtu: 1420 });
  for (const family of families) {
    const bits = family === 'ipv4' ? 32 : 128;
    put('ipcache', `${native[family]}/${bits}`, { ...row, identity: 1 });
    put('ipcache', `${peer[family]}/${bits}`, { ...row, identity: identities.node2 });
    put('ipcache', `${remote[family]}/${bits}`, { ...row, identity: identities.remote, encryptKey: 255 });
  }
  links.push(...attach(node.netns, 'eth0', object.program('from_netdev'), 'ingress'));
  links.push(...attach(node.netns, 'eth0', object.program('to_netdev'), 'egress'));
  links.push(...attach(node.netns, 'cilium_wg0', object.program('from_wireguard'), 'ingress'));
  far = await socketAt(peer.netns, peer.ipv4, PORT);
});

afterAll(() => {
  for (const socket of sockets) socket.close();
  for (const link of links) link.close();
  datapath?.close();
  deleteNetns(peer.netns);
  node?.remove();
});

for (const family of families)
  describe(family, () => {
    const v6 = family === 'ipv6';
    const pod = () => {
      const [one] = node.pods;
      if (!one) throw new Error('a pod was asked for');
      return one;
    };

    test('what comes by the device is delivered to the pod', async () => {
      const socket = await socketAt(pod().netns, pod()[family], 5353);
      const met = received(socket);
      arrive(packet({ from: remote[family], to: pod()[family] }, udp(4001, 5353, Buffer.from('inside'))), v6);
      expect(String(await met)).toBe('inside');
    });

    test('what comes by the device for the node goes to the node', async () => {
      const socket = await socketAt(node.netns, native[family], 5354);
      const met = received(socket);
      arrive(packet({ from: remote[family], to: native[family] }, udp(4001, 5354, Buffer.from('node'))), v6);
      expect(String(await met)).toBe('node');
    });
  });
