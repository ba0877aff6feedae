// SPDX-License-Identifier: Apache-2.0
/**
 * Two nodes under real traffic, pods reached by VXLAN over either family: streams whose segments are wrapped whole, fragments, errors that
 * come back, what does not fit, and services whose backend is on the other node. The router between the nodes knows no pod.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type WiredPair, wirePair } from '../../simulations/wired-pair.ts';
import { protocols } from './packet.ts';

const bytes = 1_500_000;
const objectPath = join(import.meta.dirname, '../build/datapath.o');

/** Answers each connection with the client's address, then what it was sent; each datagram with the client's address and its size. */
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
const socket = require('node:net').connect({ port: Number(process.argv[2]), host: process.argv[1] });
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

for (const underlay of ['ipv4', 'ipv6'] as const)
  describe(`VXLAN over ${underlay}`, () => {
    let pair: WiredPair;
    const children: ReturnType<typeof spawn>[] = [];

    beforeAll(async () => {
      pair = wirePair(`axt-${process.pid}-${underlay}-`, { podCount: 1, underlay, objectPath, config: { dsr: 1 } });
      const [, two] = pair.nodes;
      for (const netns of [two.pods[0]?.netns ?? '', two.netns]) {
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
      pair?.remove();
    });

    for (const family of ['ipv4', 'ipv6'] as const)
      describe(family, () => {
        const ends = () => {
          const [one, two] = pair.nodes;
          const [a] = one.pods;
          const [b] = two.pods;
          if (!a || !b) throw new Error('each node has a pod');
          return { one, two, a, b };
        };

        test('a large stream to a pod of the other node, which sees the pod', () => {
          const { a, b } = ends();
          expect(script(a.netns, tcpClient, b[family], '8080')).toBe(`${a[family]} ${bytes}`);
        });

        for (const size of [20, 1400, 9000])
          test(`a datagram of ${size} bytes to a pod of the other node`, () => {
            const { a, b } = ends();
            expect(script(a.netns, udpClient, b[family], '5353', String(size))).toBe(`${a[family]} ${size}`);
          });

        test('pings, in fragments too', () => {
          const { a, b } = ends();
          for (const size of ['56', '3000'])
            expect(inside(a.netns, ['ping', '-c2', '-i0.1', '-W3', '-s', size, b[family]])).toContain(
              ' 0% packet loss',
            );
        });

        test('nobody listens on the port: the error comes back by the tunnel', () => {
          const { a, b } = ends();
          expect(script(a.netns, udpClient, b[family], '7777', '20')).toBe('ECONNREFUSED');
        });

        test('what does not fit once wrapped, and must not be cut, is answered with the size that fits', () => {
          const { one, a, b } = ends();
          const mtu = 1500 - (underlay === 'ipv4' ? 50 : 70);
          const route = [b[family], 'via', one.gateway[family], 'dev', 'eth0', 'mtu', '1500'];
          inside(a.netns, ['ip', 'route', 'add', ...route]);
          const said = inside(a.netns, ['ping', '-M', 'do', '-c1', '-W3', '-s', '1440', b[family]]);
          const learnt = inside(a.netns, ['ip', 'route', 'get', b[family]]);
          inside(a.netns, ['ip', 'route', 'delete', ...route]);
          expect(said).toMatch(family === 'ipv4' ? /Frag needed/ : /Packet too big/);
          expect(said).toContain(String(mtu));
          expect(learnt).toContain(`mtu ${mtu}`);
        });

        test('the node to a pod of the other node, and a pod to the other node', () => {
          const { one, two, a, b } = ends();
          expect(script(one.netns, tcpClient, b[family], '8080')).toMatch(new RegExp(` ${bytes}$`));
          for (const to of [two.gateway[family], two.address[family]])
            expect(script(a.netns, tcpClient, to, '8080')).toBe(`${a[family]} ${bytes}`);
        });

        test('the last hop: the node answers', () => {
          const { a, b } = ends();
          const answer = family === 'ipv4' ? /Time to live exceeded/i : /Hop limit|Time exceeded/i;
          expect(inside(a.netns, ['ping', '-c1', '-W3', '-t1', b[family]])).toMatch(answer);
        });

        for (const [what, dsr] of [
          ['under this node’s address', 0],
          ['with direct server return', 64],
        ] as const)
          test(`a client outside reaches a backend on the other node by a node port, ${what}`, () => {
            const { one, two, b } = ends();
            const port = 30_080 + dsr;
            const frontend = { addr: one.address[family], port, proto: protocols.tcp };
            one.put('backends', 5, { addr: b[family], port: 8080, proto: protocols.tcp });
            one.put('backend_slots', { set: 1, slot: 0 }, 5 as never);
            one.put('backend_sets', 1, { count: 1, maglevSize: 0, affinityTimeout: 0 });
            one.put('frontends', frontend, { id: 1, internalSet: 1, externalSet: 1, flags: 1 | dsr });
            const { world } = pair;
            const client = dsr ? world[family] : one.gateway[family];
            expect(script(world.netns, tcpClient, one.address[family], String(port))).toBe(`${client} ${bytes}`);
            expect(two.pods[0]?.[family]).toBe(b[family]);
          });

        test('a pod reaches a service’s backend on the other node', () => {
          const { one, a, b } = ends();
          const addr = family === 'ipv4' ? '10.96.0.10' : 'fd00:96::10';
          one.put('backends', 5, { addr: b[family], port: 8080, proto: protocols.tcp });
          one.put(
            'frontends',
            { addr, port: 80, proto: protocols.tcp },
            { id: 2, internalSet: 1, externalSet: 1, flags: 0 },
          );
          expect(script(a.netns, tcpClient, addr, '80')).toBe(`${a[family]} ${bytes}`);
        });

        test('nothing was dropped on the way, but what its sender was told does not fit', () => {
          for (const { datapath } of pair.nodes) {
            const dropped = datapath.object
              .map('metrics')
              .entries()
              .map(([key, value]) => [key.readUInt32LE(0) >> 1, packetsOf(value)] as const)
              .filter(([reason, count]) => reason >= 130 && !known.has(reason) && count > 0);
            expect(dropped).toEqual([]);
          }
        });
      });
  });

/** Fragmentation needed, forbidden ICMPv6 (router solicitations of pods), a full ring. */
const known = new Set([136, 176, 255]);
const packetsOf = (value: Buffer): number =>
  Array.from({ length: value.length / 16 }, (_, cpu) => Number(value.readBigUInt64LE(cpu * 16))).reduce(
    (x, y) => x + y,
    0,
  );
