/**
 * Packets per second through a node port to a backend on another node: by XDP (native and generic) and by tc alone, on veth.
 *
 *   node simulations/bench/xdp.ts [--seconds S] [--rounds N] [--patience S]
 *
 * - One sender, past the stack, of one settled flow of 64-byte datagrams; the node sends each back out of the device it came from, and a
 *   program at the other end counts what arrives. Sender, node and counter share one processor: veth has no other.
 * - `back again` is a program that does nothing but send a packet back: what the device and the sender allow.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { defaultConfig, mapOptions } from '../../bpf/test/harness.ts';
import { ip as packet, udp } from '../../bpf/test/packet.ts';
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
import { attach, ip, putRow } from '../wired-node.ts';
import { QuietMachine } from './quiet-machine.ts';
import { buildClients } from './side-by-side.ts';

const { values: flags } = parseArgs({
  options: {
    seconds: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '5' },
    patience: { type: 'string', default: '20' },
  },
});
const CPU = 0;
const NODE_PORT = 30_080;
const IPPROTO_UDP = 17;
const prefix = `axb-${process.pid}-xdp-`;
const node = `/run/netns/${prefix}node`;
const world = `/run/netns/${prefix}world`;
const pinFolder = `/sys/fs/bpf/${prefix}maps`;
const macs = { node: '02:00:00:00:07:01', world: '02:00:00:00:07:02' };
const families = [
  { name: 'IPv4', node: '192.0.2.1', client: '192.0.2.7', backend: '192.0.2.8', bits: 24, host: 32 },
  { name: 'IPv6', node: '2001:db8:7::1', client: '2001:db8:7::7', backend: '2001:db8:7::8', bits: 64, host: 128 },
] as const;
const ways = ['back again, native', 'XDP, native', 'back again, generic', 'XDP, generic', 'tc'] as const;
type Way = (typeof ways)[number];

const quiet = new QuietMachine(Number(flags.patience) * 1_000);
const objects: BpfObject[] = [];
try {
  buildClients();
  wire();
  const { tc, xdp, sink } = load();
  serve(tc);
  const links = [
    ...attach(node, 'eth0', tc.program('from_netdev'), 'ingress'),
    ...attach(node, 'eth0', tc.program('to_netdev'), 'egress'),
  ];
  for (const f of families) {
    const best = new Map<Way, number>();
    for (let round = 0; round < Number(flags.rounds); round++) {
      for (const way of ways) {
        await quiet.wait();
        best.set(way, Math.max(best.get(way) ?? 0, rate(way, f, xdp, sink)));
      }
    }
    report(f.name, best);
  }
  for (const link of links) link.close();
} finally {
  for (const object of objects) object.close();
  rmSync(pinFolder, { recursive: true, force: true });
  for (const netns of [node, world]) deleteNetns(netns);
}
if (quiet.disturbed) console.log('Others used the processors meanwhile: these figures are not to be trusted.');

function wire(): void {
  for (const netns of [node, world]) createNetns(netns, { loopbackUp: true });
  ip(node, [
    `link add eth0 address ${macs.node} type veth peer name eth0 address ${macs.world} netns ${world}`,
    'link set eth0 up',
  ]);
  ip(world, ['link set eth0 up']);
  for (const f of families) {
    ip(node, [`address add ${f.node}/${f.bits} dev eth0${f.host === 128 ? ' nodad' : ''}`]);
    // The counter takes every packet, so nobody answers for the addresses out there.
    for (const address of [f.client, f.backend])
      ip(node, [`neighbour add ${address} lladdr ${macs.world} dev eth0 nud permanent`]);
  }
  const forwarding = ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'];
  execFileSync('nsenter', [`--net=${node}`, 'sysctl', '-qw', ...forwarding]);
}

function load(): Record<'tc' | 'xdp' | 'sink', BpfObject> {
  mkdirSync(pinFolder);
  const open = (name: string): BpfObject => {
    const object = openObject(join(import.meta.dirname, '../../bpf/build', name), {
      maps: mapOptions({ conntrack: 4096, nat: 4096 }, pinFolder),
    });
    objects.push(object);
    object.setRodata('config', encode(new Codecs(object.btf()).struct('config'), { ...defaultConfig, hz: 250 }));
    object.load();
    return object;
  };
  const sink = openObject(join(import.meta.dirname, 'build/sink.o'));
  objects.push(sink);
  sink.load();
  return { tc: open('datapath.o'), xdp: open('xdp.o'), sink };
}

/** A node port whose one backend is on another node. */
function serve(tc: BpfObject): void {
  const put = (map: string, key: unknown, value: Fields | number) => putRow(tc, node, map, key, value as Fields);
  put('netdevs', 'eth0', { ipv4: families[0].node, ipv6: families[1].node, mac: macs.node, flags: 1 });
  families.forEach((f, index) => {
    const id = index + 1;
    put('ipcache', `${f.node}/${f.host}`, { identity: 1, tunnelEndpoint: '', encryptKey: 0, flags: 0 });
    put('backends', id, { addr: f.backend, port: 8080, proto: IPPROTO_UDP });
    put('backend_slots', { set: id, slot: 0 }, id);
    put('backend_sets', id, { count: 1, maglevSize: 0, affinityTimeout: 0 });
    const frontend = { addr: f.node, port: NODE_PORT, proto: IPPROTO_UDP };
    put('frontends', frontend, { id, internalSet: id, externalSet: id, flags: 1 });
  });
}

/** Packets a second that came back. */
function rate(way: Way, f: (typeof families)[number], xdp: BpfObject, sink: BpfObject): number {
  const mode = way.endsWith('native') ? 'native' : 'generic';
  const at = (netns: string, program: Parameters<typeof attachXdp>[0]['program']): BpfLink =>
    attachXdp({ netns, ifindex: withNetns(netns, () => ifNameToIndex('eth0')), program, mode });
  const links =
    mode === 'native' ? [at(world, sink.program('sink'))] : attach(world, 'eth0', sink.program('sink_tc'), 'ingress');
  if (way !== 'tc')
    links.push(at(node, way.startsWith('XDP') ? xdp.program('xdp_netdev') : sink.program('back_again')));
  const frame = packet(
    { from: f.client, to: f.node, ethSource: macs.world, ethDest: macs.node },
    udp(4_000, NODE_PORT, Buffer.alloc(22)),
  );
  try {
    send(frame, 0.05); // the flow settles
    const before = arrived(sink);
    send(frame, Number(flags.seconds));
    return (arrived(sink) - before) / Number(flags.seconds);
  } finally {
    for (const link of links) link.close();
  }
}

function send(frame: Buffer, seconds: number): void {
  const args = [world, String(CPU), 'eth0', String(seconds), frame.toString('hex')];
  const program = join(import.meta.dirname, 'build/packets');
  const { status } = spawnSync('nice', ['-n', '-20', program, ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (status !== 0) throw new Error(`packets ended with ${status}`);
}

function arrived(sink: BpfObject): number {
  const counts = sink.map('arrived').get(Buffer.alloc(4)) ?? Buffer.alloc(0);
  let sum = 0;
  for (let offset = 0; offset < counts.length; offset += 8) sum += Number(counts.readBigUInt64LE(offset));
  return sum;
}

function report(family: string, best: ReadonlyMap<Way, number>): void {
  console.log(
    `${family}, node port to a backend elsewhere: best of ${flags.rounds} rounds, packets/s, ns each, and ratio to tc`,
  );
  for (const [way, perSecond] of best) {
    const ratio = perSecond / (best.get('tc') ?? 1);
    console.log(
      `  ${way.padEnd(22)} ${perSecond.toFixed(0).padStart(10)} ${(1e9 / perSecond).toFixed(0).padStart(7)} ${ratio.toFixed(2)}`,
    );
  }
}
