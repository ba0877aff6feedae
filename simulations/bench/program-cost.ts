/**
 * What each program costs a packet: nanoseconds by test run, over a program that does nothing.
 *
 * - established: the same packet of a known connection again and again, everything in cache.
 * - of 64k flows: a packet of each of 65536 known connections in turn, one run each: caches are cold, the system call's doing too.
 * - new: the first packet of each of them; conntrack (and nat) entries are made, events written.
 * - A program rewrites the packet that it is run on: after `hopsMax` runs of one packet its TTL would end.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { ip as packet, udp } from '../../bpf/test/packet.ts';
import { type BpfProgram, ifNameToIndex, isErrno, openObject, skbContext, withNetns } from '../../native/index.ts';
import { attachDatapath, ip, putRow, wireNode } from '../wired-node.ts';

const hopsMax = 200;
const samples = 400;
const flows = 65_536;
const world = { ipv4: '192.0.2.7', ipv6: '2001:db8::7' };
const native = { link: 'eth0', ipv4: '198.51.100.1', ipv6: '2001:db8:1::1', mac: '02:00:00:00:03:01' };

type Family = 'ipv4' | 'ipv6';
interface Flow {
  from: Record<Family, string>;
  to: Record<Family, string>;
}

execFileSync('make', ['--silent', '-C', import.meta.dirname], { stdio: ['ignore', 'ignore', 'inherit'] });
const node = wireNode(`axb-${process.pid}-cost-`, 2);
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
  const columns = ['established', 'of 64k flows', 'new'];
  console.log(`ns per packet over an empty program (${idle.established} ns), and as a multiple of it`);
  console.log(`${''.padEnd(20)}${columns.map((column) => column.padStart(18)).join('')}`);
  for (const [program, link, flow] of hooks) {
    for (const family of ['ipv4', 'ipv6'] as const) {
      const { established, spread, fresh } = cost(datapath.object.program(program), link, flow, family);
      const cells = [established - idle.established, spread - idle.spread, fresh - idle.fresh];
      const text = cells.map((ns) => `${ns} (${(ns / idle.established).toFixed(1)}x)`.padStart(18)).join('');
      console.log(`${program} ${family}`.padEnd(20) + text);
    }
  }
} finally {
  plain.close();
  datapath.close();
  node.remove();
}

interface Cost {
  established: number;
  spread: number;
  fresh: number;
}

function cost(program: BpfProgram, link: string, flow: Flow, family: Family): Cost {
  return withNetns(node.netns, () => {
    const ctx = skbContext({ ifindex: ifNameToIndex(link), ingressIfindex: ifNameToIndex(link) });
    const run = (index: number, repeat: number): number => {
      try {
        return program.testRun({ data: datagram(flow, family, index), ctx, repeat }).durationNs;
      } catch (error) {
        // The kernel gives up a test run for any signal of the process.
        if (isErrno(error, 'EINTR')) return run(index, repeat);
        throw error;
      }
    };
    const each = () => Array.from({ length: flows }, (_, index) => run(index, 1));
    const fresh = each();
    const spread = each();
    const established = Array.from({ length: samples }, () => run(1, hopsMax));
    return { established: median(established), spread: median(spread), fresh: median(fresh) };
  });
}

/** A datagram of the flow as it lies on the veth, 22 bytes of payload so that IPv4 makes a 64-byte frame. */
function datagram({ from, to }: Flow, family: Family, index: number): Buffer {
  const ends = { from: from[family], to: to[family], ttl: 255, ethDest: '02:00:00:00:02:00' };
  return packet(ends, udp(index & 0xffff, 53 + (index & 0x3ff), Buffer.alloc(22)));
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
