// SPDX-License-Identifier: Apache-2.0
/**
 * The programs under real traffic, which test runs cannot show: redirects, checksum and segmentation offload, the kernel's own
 * answers. Two pods, a node, and a host in the world that knows the node's address only.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BpfLink, createNetns, deleteNetns } from '../../native/index.ts';
import {
  attach,
  attachDatapath,
  type Datapath,
  ip,
  putRow,
  type WiredNode,
  wireNode,
} from '../../simulations/wired-node.ts';

const prefix = `axt-${process.pid}-bpf-`;
const world = { netns: `/run/netns/${prefix}world`, ipv4: '192.0.2.7', ipv6: '2001:db8:7::7' };
const native = { ipv4: '192.0.2.1', ipv6: '2001:db8:7::1', mac: '02:00:00:00:03:01' };
const gateway = { ipv4: '10.111.0.1', ipv6: 'fd00:111::1' };
const bytes = 1_500_000;

/** Answers each connection with the client's address, then what it was sent; each datagram with the client's address and port. */
const server = `
const net = require('node:net'), dgram = require('node:dgram');
const peer = (address) => address.replace('::ffff:', '');
net.createServer({ allowHalfOpen: true }, (socket) => {
  let got = 0;
  socket.on('data', (chunk) => { got += chunk.length; });
  socket.on('end', () => socket.end(peer(socket.remoteAddress) + ' ' + got));
}).listen(8080, '::', () => {
  const udp = dgram.createSocket('udp6', (message, from) => udp.send(peer(from.address) + ' ' + message.length, from.port, from.address));
  udp.bind(5353, '::', () => console.log('ready'));
});`;

const tcpClient = `
const socket = require('node:net').connect({ port: 8080, host: process.argv[1] });
socket.setTimeout(8000, () => { console.log('timeout'); process.exit(); });
let text = '';
socket.on('data', (chunk) => { text += chunk; }).on('end', () => console.log(text)).on('error', (error) => console.log(error.code));
socket.end(Buffer.alloc(${bytes}));`;

const udpClient = `
const [host, port, size] = process.argv.slice(1);
const socket = require('node:dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4');
setTimeout(() => { console.log('timeout'); process.exit(); }, 8000);
const say = (text) => { console.log(text); process.exit(); };
socket.on('message', (message) => say(String(message))).on('error', (error) => say(error.code));
socket.connect(Number(port), host, () => socket.send(Buffer.alloc(Number(size))));`;

const inside = (netns: string, command: string[]): string => {
  try {
    return execFileSync('nsenter', [`--net=${netns}`, ...command], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    }).trim();
  } catch (error) {
    return `${String((error as { stdout?: string }).stdout)}${String((error as { stderr?: string }).stderr)}`.trim();
  }
};
const script = (netns: string, text: string, ...args: string[]) =>
  inside(netns, [process.execPath, '-e', text, ...args]);

let node: WiredNode;
let datapath: Datapath;
const links: BpfLink[] = [];
const children: ReturnType<typeof spawn>[] = [];

beforeAll(async () => {
  node = wireNode(prefix, 2);
  createNetns(world.netns, { loopbackUp: true });
  ip(node.netns, [
    `link add eth0 address ${native.mac} type veth peer name eth0 netns ${world.netns}`,
    'link set eth0 up',
    `address add ${native.ipv4}/24 dev eth0`,
    `address add ${native.ipv6}/64 dev eth0 nodad`,
  ]);
  ip(world.netns, [
    'link set eth0 up',
    `address add ${world.ipv4}/24 dev eth0`,
    `address add ${world.ipv6}/64 dev eth0 nodad`,
  ]);
  // The node asks for its pods' MACs under a link-local address.
  ip(
    node.netns,
    node.pods.map(({ link }) => `address add fe80::1/64 dev ${link} nodad`),
  );
  datapath = attachDatapath(node, join(import.meta.dirname, '../build/datapath.o'));
  const { object } = datapath;
  putRow(object, node.netns, 'netdevs', 'eth0', { ...native, flags: 0 });
  for (const [address, bits] of [
    [native.ipv4, 32],
    [native.ipv6, 128],
  ] as const)
    putRow(object, node.netns, 'ipcache', `${address}/${bits}`, {
      identity: 1,
      tunnelEndpoint: '',
      encryptKey: 0,
      flags: 0,
    });
  // Kept: a link that nobody refers to is collected, and with it the program leaves its hook.
  links.push(...attach(node.netns, 'eth0', object.program('from_netdev'), 'ingress'));
  links.push(...attach(node.netns, 'eth0', object.program('to_netdev'), 'egress'));
  for (const netns of [node.pods[1]?.netns ?? '', world.netns, node.netns]) {
    const child = spawn('nsenter', [`--net=${netns}`, process.execPath, '-e', server], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    if (child.stdout) await once(child.stdout, 'data');
  }
});

afterAll(async () => {
  for (const child of children) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
  for (const link of links) link.close();
  datapath?.close();
  deleteNetns(world.netns);
  node?.remove();
});

for (const family of ['ipv4', 'ipv6'] as const)
  describe(family, () => {
    const pods = () => {
      const [a, b] = node.pods;
      if (!a || !b) throw new Error('two pods were asked for');
      return { a, b };
    };
    const peers = (): [what: string, to: string, seen: string][] => {
      const { a, b } = pods();
      return [
        ['another pod', b[family], a[family]],
        ['the world, which sees the node', world[family], native[family]],
        // The address that an unbound UDP server answers with.
        ['the node', gateway[family], a[family]],
      ];
    };
    for (const [index, what] of ['another pod', 'the world, which sees the node', 'the node'].entries()) {
      test(`a pod sends a large stream to ${what}`, () => {
        const [, to, seen] = peers()[index] ?? ['', '', ''];
        expect(script(pods().a.netns, tcpClient, to)).toBe(`${seen} ${bytes}`);
      });

      for (const size of [20, 4000])
        test(`a pod sends a datagram of ${size} bytes to ${what}`, () => {
          const [, to, seen] = peers()[index] ?? ['', '', ''];
          expect(script(pods().a.netns, udpClient, to, '5353', String(size))).toBe(`${seen} ${size}`);
        });

      test(`a pod learns that nobody listens on a port of ${what}`, () => {
        const [, to] = peers()[index] ?? ['', '', ''];
        expect(script(pods().a.netns, udpClient, to, '7777', '20')).toBe('ECONNREFUSED');
      });

      test(`a pod pings ${what}, with fragments too`, () => {
        const [, to] = peers()[index] ?? ['', '', ''];
        for (const size of ['56', '3000'])
          expect(inside(pods().a.netns, ['ping', '-c2', '-i0.1', '-W3', '-s', size, to])).toContain(' 0% packet loss');
      });
    }

    test('the node sends a large stream to a pod', () => {
      expect(script(node.netns, tcpClient, pods().b[family])).toMatch(new RegExp(` ${bytes}$`));
    });

    test('the last hop: the node answers a packet for another pod and for the world', () => {
      const answer = family === 'ipv4' ? /Time to live exceeded/i : /Hop limit|Time exceeded/i;
      for (const to of [pods().b[family], world[family]])
        expect(inside(pods().a.netns, ['ping', '-c1', '-W3', '-t1', to])).toMatch(answer);
    });

    test('nothing was dropped on the way', () => {
      const { object } = datapath;
      const values = object
        .map('metrics')
        .entries()
        .filter(([key]) => {
          const reason = key.readUInt32LE(0) >> 1;
          return reason >= 130 && reason !== 255 && reason !== 176;
        });
      const packets = (value: Buffer) =>
        Array.from({ length: value.length / 16 }, (_, cpu) => Number(value.readBigUInt64LE(cpu * 16))).reduce(
          (x, y) => x + y,
          0,
        );
      expect(
        values.map(([key, value]) => [key.readUInt32LE(0) >> 1, packets(value)]).filter(([, count]) => count),
      ).toEqual([]);
    });
  });
