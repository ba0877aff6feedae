/**
 * What each program costs a packet: nanoseconds by test run, over a program that does nothing.
 *
 * - established: the same packet of a known connection again and again, everything in cache.
 * - new: the first packet of a connection, one run each; conntrack (and nat) entries are made, events written.
 * - A program rewrites the packet that it is run on: after `hopsMax` runs of one packet its TTL would end.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { parseAddress, parseMac } from '../../datapath/address.ts';
import { type BpfProgram, ifNameToIndex, isErrno, openObject, skbContext, withNetns } from '../../native/index.ts';
import { attachDatapath, ip, putRow, wireNode } from '../wired-node.ts';

const hopsMax = 200;
const samples = 400;
const newSamples = 20_000;
const world = { ipv4: '192.0.2.7', ipv6: '2001:db8::7' };
const native = { link: 'eth0', ipv4: '198.51.100.1', ipv6: '2001:db8:1::1', mac: '02:00:00:00:03:01' };

type Family = 'ipv4' | 'ipv6';
interface Flow {
  from: Record<Family, string>;
  to: Record<Family, string>;
}

execFileSync('make', ['--silent', '-C', import.meta.dirname], { stdio: ['ignore', 'ignore', 'inherit'] });
const node = wireNode('axb-cost-', 2);
const datapath = attachDatapath(node, join(import.meta.dirname, '../../bpf/build/datapath.o'));
const plain = openObject(join(import.meta.dirname, 'build/floor.o'));
try {
  plain.load();
  ip(node.netns, [
    `link add ${native.link} address ${native.mac} type veth peer name world`,
    `link set ${native.link} up`,
  ]);
  putRow(datapath.object, node.netns, 'netdevs', native.link, {
    ipv4: native.ipv4,
    ipv6: native.ipv6,
    mac: native.mac,
    flags: 0,
  });
  const [a, b] = node.pods;
  if (a === undefined || b === undefined) throw new Error('two pods were asked for');
  const hooks: [program: string, link: string, flow: Flow][] = [
    ['from_endpoint', a.link, { from: a, to: b }],
    ['to_endpoint', b.link, { from: native, to: b }],
    ['from_netdev', native.link, { from: world, to: b }],
    ['to_netdev', native.link, { from: a, to: world }],
  ];
  const idle = cost(plain.program('empty'), native.link, { from: a, to: b }, 'ipv4');
  console.log(`ns per packet over an empty program (${idle.established} ns)`);
  console.log(
    `${''.padEnd(16)}${'IPv4 established'.padStart(18)}${'new'.padStart(8)}${'IPv6 established'.padStart(18)}${'new'.padStart(8)}`,
  );
  for (const [program, link, flow] of hooks) {
    const cells = (['ipv4', 'ipv6'] as const).flatMap((family) => {
      const { established, fresh } = cost(datapath.object.program(program), link, flow, family);
      return [String(established - idle.established).padStart(18), String(fresh - idle.fresh).padStart(8)];
    });
    console.log(program.padEnd(16) + cells.join(''));
  }
} finally {
  plain.close();
  datapath.close();
  node.remove();
}

function cost(program: BpfProgram, link: string, flow: Flow, family: Family): { established: number; fresh: number } {
  return withNetns(node.netns, () => {
    const ctx = skbContext({ ifindex: ifNameToIndex(link), ingressIfindex: ifNameToIndex(link) });
    const run = (port: number, repeat: number): number => {
      try {
        return program.testRun({ data: udp(flow, family, port), ctx, repeat }).durationNs;
      } catch (error) {
        // The kernel gives up a test run for any signal of the process.
        if (isErrno(error, 'EINTR')) return run(port, repeat);
        throw error;
      }
    };
    run(1, hopsMax);
    const established = Array.from({ length: samples }, () => run(1, hopsMax));
    const fresh = Array.from({ length: newSamples }, (_, index) => run(2 + index, 1));
    return { established: median(established), fresh: median(fresh) };
  });
}

/** A datagram of the flow as it lies on the veth, 22 bytes of payload so that IPv4 makes a 64-byte frame. */
function udp({ from, to }: Flow, family: Family, port: number): Buffer {
  const payload = Buffer.alloc(22);
  const transport = Buffer.alloc(8);
  transport.writeUInt16BE(10_000 + port, 0);
  transport.writeUInt16BE(53, 2);
  transport.writeUInt16BE(8 + payload.length, 4);
  const ethernet = Buffer.concat([
    parseMac('02:00:00:00:02:00'),
    parseMac('02:00:00:00:01:00'),
    Buffer.from(family === 'ipv4' ? [8, 0] : [0x86, 0xdd]),
  ]);
  return Buffer.concat([
    ethernet,
    family === 'ipv4' ? ipv4Header(from.ipv4, to.ipv4) : ipv6Header(from.ipv6, to.ipv6),
    transport,
    payload,
  ]);
}

function ipv4Header(from: string, to: string): Buffer {
  const header = Buffer.from([
    0x45,
    0,
    0,
    50,
    0,
    0,
    0x40,
    0,
    255,
    17,
    0,
    0,
    ...parseAddress(from),
    ...parseAddress(to),
  ]);
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  header.writeUInt16BE(~sum & 0xffff, 10);
  return header;
}

function ipv6Header(from: string, to: string): Buffer {
  return Buffer.from([0x60, 0, 0, 0, 0, 30, 17, 255, ...parseAddress(from), ...parseAddress(to)]);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
