// SPDX-License-Identifier: Apache-2.0
/**
 * XDP under real traffic: a client and a backend out there, behind one device of the node, which sends packets of a node port back out
 * of the device they came from.
 *
 * - Generic mode: a veth hands XDP packets whose checksum is left to the device, which no wire ever does; the other end of a veth does
 *   not look at their sums, so what they come to is the business of xdp.test.ts.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Codecs, encode, type Fields } from '../../datapath/codec.ts';
import {
  attachXdp,
  type BpfLink,
  type BpfObject,
  createNetns,
  deleteNetns,
  ifNameToIndex,
  openObject,
  withNetns,
} from '../../native/index.ts';
import { attach, ip, putRow } from '../../simulations/wired-node.ts';
import { defaultConfig, mapOptions } from './harness.ts';

const prefix = `axt-${process.pid}-xdpt-`;
const node = `/run/netns/${prefix}node`;
const world = `/run/netns/${prefix}world`;
const pinFolder = `/sys/fs/bpf/${prefix}maps`;
const build = join(import.meta.dirname, '../build');
const nodePort = 30080;
const families = [
  { name: 'IPv4', node: '192.0.2.1', client: '192.0.2.7', backend: '192.0.2.8', bits: 24, host: 32 },
  { name: 'IPv6', node: '2001:db8:7::1', client: '2001:db8:7::7', backend: '2001:db8:7::8', bits: 64, host: 128 },
] as const;

/** Says who asks, for each line it gets. */
const server = `
require('node:net').createServer((socket) => {
  socket.on('data', () => socket.write(socket.remoteAddress.replace('::ffff:', '') + '\\n')).on('error', () => {});
}).listen(8080, '::', () => console.log('ready'));`;
/** Asks once, and a hundred times more when it is told to. */
const client = `
const [host, from] = process.argv.slice(1);
const socket = require('node:net').connect({ port: ${nodePort}, host, localAddress: from });
socket.setTimeout(8000, () => { console.log('timeout'); process.exit(); });
let left = 1;
const ask = () => left-- > 0 && socket.write('who\\n');
process.stdin.on('data', () => { left = 100; ask(); });
socket.on('connect', ask).on('error', (error) => console.log(error.code)).on('data', (data) => {
  if (left > 0) ask(); else console.log(String(data).trim(), socket.remoteAddress);
});`;

const links: BpfLink[] = [];
const objects: BpfObject[] = [];
const tc = (): BpfObject => {
  const [datapath] = objects;
  if (!datapath) throw new Error('nothing is loaded');
  return datapath;
};
let child: ReturnType<typeof spawn> | undefined;

beforeAll(async () => {
  for (const netns of [node, world]) createNetns(netns, { loopbackUp: true });
  ip(node, [`link add eth0 type veth peer name eth0 netns ${world}`, 'link set eth0 up']);
  ip(world, ['link set eth0 up']);
  for (const f of families) {
    ip(node, [`address add ${f.node}/${f.bits} dev eth0${f.host === 128 ? ' nodad' : ''}`]);
    for (const address of [f.client, f.backend])
      ip(world, [`address add ${address}/${f.bits} dev eth0${f.host === 128 ? ' nodad' : ''}`]);
  }
  execFileSync('nsenter', [
    `--net=${node}`,
    'sysctl',
    '-qw',
    'net.ipv4.ip_forward=1',
    'net.ipv6.conf.all.forwarding=1',
  ]);
  mkdirSync(pinFolder);
  const open = (name: string): BpfObject => {
    const object = openObject(join(build, name), { maps: mapOptions({ conntrack: 4096, nat: 4096 }, pinFolder) });
    objects.push(object);
    object.setRodata('config', encode(new Codecs(object.btf()).struct('config'), { ...defaultConfig, hz: 250 }));
    object.load();
    return object;
  };
  const datapath = open('datapath.o');
  const xdp = open('xdp.o');
  const put = (map: string, key: unknown, value: Fields | number) => {
    putRow(datapath, node, map, key, value as Fields);
  };
  put('netdevs', 'eth0', { ipv4: families[0].node, ipv6: families[1].node, mac: '02:00:00:00:00:01', flags: 1 });
  families.forEach((f, index) => {
    const id = index + 1;
    put('ipcache', `${f.node}/${f.host}`, { identity: 1, tunnelEndpoint: '', encryptKey: 0, flags: 0 });
    put('backends', id, { addr: f.backend, port: 8080, proto: 6 });
    put('backend_slots', { set: id, slot: 0 }, id);
    put('backend_sets', id, { count: 1, maglevSize: 0, affinityTimeout: 0 });
    put('frontends', { addr: f.node, port: nodePort, proto: 6 }, { id, internalSet: id, externalSet: id, flags: 1 });
  });
  links.push(...attach(node, 'eth0', datapath.program('to_netdev'), 'egress'));
  const ifindex = withNetns(node, () => ifNameToIndex('eth0'));
  links.push(attachXdp({ netns: node, ifindex, program: xdp.program('xdp_netdev'), mode: 'generic' }));
  child = spawn('nsenter', [`--net=${world}`, process.execPath, '-e', server], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (child.stdout) await once(child.stdout, 'data');
});

afterAll(async () => {
  if (child) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
  for (const link of links) link.close();
  for (const object of objects) object.close();
  rmSync(pinFolder, { recursive: true, force: true });
  for (const netns of [node, world]) deleteNetns(netns);
});

test.each(families)(
  '$name: a client reaches a backend elsewhere through a node port, settled packets by XDP alone',
  async (f) => {
    const attached = attach(node, 'eth0', tc().program('from_netdev'), 'ingress');
    const asker = spawn('nsenter', [`--net=${world}`, process.execPath, '-e', client, f.node, f.client], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    try {
      const heard = async () => String((await once(asker.stdout, 'data'))[0]).trim();
      expect(await heard()).toBe(`${f.node} ${f.node}`);
      // Nothing is left but XDP; it leaves the packets of a trace interval (5 s) alone, and then the node would refuse them.
      for (const link of attached.splice(0)) link.close();
      asker.stdin.write('more');
      expect(await heard()).toBe(`${f.node} ${f.node}`);
    } finally {
      for (const link of attached) link.close();
      asker.kill('SIGKILL');
      if (asker.exitCode === null && asker.signalCode === null) await once(asker, 'exit');
    }
  },
);
