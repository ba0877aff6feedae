/**
 * What each program costs a packet: nanoseconds by test run, over a program that does nothing.
 *
 * - established: the same packet of a known connection again and again, everything in cache.
 * - of 64k flows: a packet of each of 65536 known connections in turn, one run each: caches are cold, the system call's doing too.
 * - new: the first packet of each of them; conntrack (and nat) entries are made, events written.
 * - from_overlay needs a tunnel's key, which a program in front gives it: that one's cost is in its figure.
 * - A program rewrites the packet that it is run on: after `hopsMax` runs of one packet its TTL would end.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { ip as packet, udp } from '../../bpf/test/packet.ts';
import type { Fields } from '../../datapath/codec.ts';
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

/** Pod of another node, and that node. */
const remote = { ipv4: '10.112.0.2', ipv6: 'fd00:112::2' };
const node2 = { ipv4: '198.51.100.2', ipv6: '2001:db8:1::2' };
const OVERLAY = 1;
const WIREGUARD = 2;
const VNI = 2000;
const KEY_FLAGS_AT = 44;

interface Hook {
  /** As the row is called. */
  name: string;
  program: string;
  link: string;
  flow: Flow;
  /** Through a program that gives the packet a tunnel's key. */
  withKey?: true;
}

const folder = join(import.meta.dirname, '../../bpf');
execFileSync('make', ['--silent', '-C', import.meta.dirname], { stdio: ['ignore', 'ignore', 'inherit'] });
execFileSync('make', ['--silent', '-C', folder, 'build/test/tunnel-key.o'], { stdio: ['ignore', 'ignore', 'inherit'] });
const node = wireNode(`axb-${process.pid}-cost-`, 2);
const plain = openObject(join(import.meta.dirname, 'build/floor.o'));
const giver = openObject(join(folder, 'build/test/tunnel-key.o'));
try {
  plain.load();
  giver.load();
  ip(node.netns, [
    `link add ${native.link} address ${native.mac} type veth peer name world`,
    `link set ${native.link} up`,
    `address add ${native.ipv4}/24 dev ${native.link}`,
    `address add ${native.ipv6}/64 dev ${native.link} nodad`,
    `neighbour add ${node2.ipv4} lladdr ${native.mac} dev ${native.link} nud permanent`,
    `neighbour add ${node2.ipv6} lladdr ${native.mac} dev ${native.link} nud permanent`,
    `route add 10.112.0.0/24 via ${node2.ipv4}`,
    `-6 route add fd00:112::/64 via ${node2.ipv6}`,
  ]);
  const [a, b] = node.pods;
  if (a === undefined || b === undefined) throw new Error('two pods were asked for');
  const idle = cost(plain.program('empty'), native.link, { from: a, to: b }, 'ipv4');
  const columns = ['established', 'of 64k flows', 'new'];
  console.log(`ns per packet over an empty program (${idle.established} ns), and as a multiple of it`);
  console.log(`${''.padEnd(36)}${columns.map((column) => column.padStart(18)).join('')}`);
  const hook = (program: string, link: string, from: Flow['from'], to: Flow['to'], how = ''): Hook => ({
    name: `${program}${how}`,
    program,
    link,
    flow: { from, to },
  });
  const { link } = native;
  report(idle, {}, [
    hook('from_endpoint', a.link, a, b),
    hook('to_endpoint', b.link, native, b),
    hook('from_netdev', link, world, b),
    hook('to_netdev', link, a, world),
    hook('from_endpoint', a.link, a, remote, ' to a node'),
  ]);
  report(idle, { tunnel: 1, tunnelPort: 8472 }, [
    hook('from_endpoint', a.link, a, remote, ' by tunnel'),
    hook('from_host', link, native, remote, ' by tunnel'),
    { ...hook('from_overlay', link, remote, b), withKey: true },
  ]);
  report(idle, { encryption: 1 }, [hook('to_netdev', link, a, remote, ' to WireGuard')]);
  report(idle, { tunnel: 1, tunnelPort: 8472, encryption: 1 }, [
    hook('from_endpoint', a.link, a, remote, ' by tunnel, marked'),
  ]);
} finally {
  plain.close();
  giver.close();
  node.remove();
}

/** Loads the programs with this configuration and prints a line for each hook and family. */
function report(idle: Cost, config: Fields, hooks: readonly Hook[]): void {
  const datapath = attachDatapath(node, join(folder, 'build/datapath.o'), config);
  try {
    const put = (map: string, key: unknown, value: Fields) => putRow(datapath.object, node.netns, map, key, value);
    const { link, ...addresses } = native;
    put('netdevs', link, { ...addresses, flags: 0 });
    // Nothing leaves a test run: any link will do.
    for (const role of [OVERLAY, WIREGUARD]) put('devices', role, { link, mtu: 1420 });
    for (const [address, bits] of [
      [remote.ipv4, 32],
      [remote.ipv6, 128],
    ] as const)
      put('ipcache', `${address}/${bits}`, { identity: VNI, tunnelEndpoint: node2.ipv4, encryptKey: 255, flags: 0 });
    for (const { name, program, link: at, flow, withKey } of hooks)
      for (const family of ['ipv4', 'ipv6'] as const) {
        const loaded = datapath.object.program(program);
        const { established, spread, fresh } = cost(withKey ? keyed(loaded) : loaded, at, flow, family);
        const cells = [established - idle.established, spread - idle.spread, fresh - idle.fresh];
        const text = cells.map((ns) => `${ns} (${(ns / idle.established).toFixed(1)}x)`.padStart(18)).join('');
        console.log(`${name} ${family}`.padEnd(36) + text);
      }
  } finally {
    datapath.close();
  }
}

/** The program behind one that gives packets the key of a tunnel. */
function keyed(program: BpfProgram): BpfProgram {
  const given = Buffer.alloc(KEY_FLAGS_AT + 4);
  given.writeUInt32LE(VNI, 0);
  giver.map('given').put(Buffer.alloc(4), given);
  const fd = Buffer.alloc(4);
  fd.writeUInt32LE(program.fd);
  giver.map('next').put(Buffer.alloc(4), fd);
  return giver.program('with_key');
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
