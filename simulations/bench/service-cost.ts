/**
 * What services cost a packet: nanoseconds by test run, over a program that does nothing, with `services` frontends in the map.
 *
 * - A program rewrites the packet that it is run on, so each run is a system call of its own; the empty program is measured the same way.
 * - new: SYNs of `flows` connections; frontend looked up, backend chosen, packet translated, three to five entries made, events written.
 * - established: the same answered connection again and again. of many flows: each of them in turn, caches are cold.
 * - `no service`: the same for the pod's own address, for comparison.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Bench, families, mapOptions } from '../../bpf/test/harness.ts';
import { ip, tcp, tcpFlags } from '../../bpf/test/packet.ts';
import { frontendFlags, putBackend, putFrontend, putSet } from '../../bpf/test/services.ts';
import { type BpfProgram, isErrno, openObject, skbContext, withNetns } from '../../native/index.ts';

const services = 10_000;
const flows = 16_384;
const samples = 20_000;
const drainEvery = 256;
const ports = { cluster: 80, local: 30_080, remote: 30_081, backend: 8080 };
const { syn, ack } = tcpFlags;

interface Path {
  name: string;
  program: BpfProgram;
  ctx: Buffer;
  /** The client's packet. */
  packet(port: number, flags: number): Buffer;
  /** Brings a connection to where both ends have answered. */
  answer(port: number): void;
  /** Where connections begin, if not here; and where they are looked at now and then. */
  open?(port: number, flags: number): unknown;
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
const u32 = (...values: number[]): Buffer => Buffer.from(Uint32Array.from(values).buffer);

const pinFolder = `/sys/fs/bpf/axb-${process.pid}-service-cost`;
mkdirSync(pinFolder);
const maxEntries = { conntrack: 262_144, nat: 262_144 };
const bench = new Bench('service-cost', { maxEntries, pinFolder });
const xdp = openObject(join(import.meta.dirname, '../../bpf/build/xdp.o'), {
  maps: mapOptions(maxEntries, pinFolder),
  rodata: { config: bench.configBytes() },
});
const plain = openObject(join(import.meta.dirname, 'build/floor.o'));
try {
  xdp.load();
  plain.load();
  const skb = (link: 'lxca' | 'lxcb' | 'eth0') =>
    skbContext({ ifindex: bench.ifindex(link), ingressIfindex: bench.ifindex(link) });
  const { b: pod } = families[0];
  const idle = time(plain.program('empty'), skb('eth0'), () => ip({ from: pod, to: pod }, tcp(1, 2, ack)));
  console.log(`ns per packet over an empty program (${idle} ns a run), ${services} services`);
  console.log(
    `${''.padEnd(44)}${['established', 'of many flows', 'new'].map((column) => column.padStart(16)).join('')}`,
  );
  for (const f of families) {
    fill(f);
    const tc = (program: string) => bench.object.program(program);
    const out = (to: string, dport: number) => (port: number, flags: number) =>
      ip({ from: f.a, to }, tcp(port, dport, flags));
    const fromOutside = (dport: number) => (port: number, flags: number) =>
      ip({ from: f.world, to: f.node }, tcp(port, dport, flags));
    const podAnswers = (to: string) => (port: number) => {
      bench.runQuiet('from_endpoint', 'lxcb', ip({ from: f.b, to }, tcp(ports.backend, port, syn | ack)));
    };
    const remoteAnswers = (port: number) => {
      bench.runQuiet('from_netdev', 'eth0', ip({ from: f.remote, to: f.node }, tcp(ports.backend, port, syn | ack)));
    };
    const nodePort = fromOutside(ports.remote);
    const paths: Path[] = [
      {
        name: 'from_endpoint, no service',
        packet: out(f.b, ports.backend),
        answer: podAnswers(f.a),
        program: tc('from_endpoint'),
        ctx: skb('lxca'),
      },
      {
        name: 'from_endpoint, ClusterIP',
        packet: out(f.vip, ports.cluster),
        answer: podAnswers(f.a),
        program: tc('from_endpoint'),
        ctx: skb('lxca'),
      },
      {
        name: 'from_netdev, node port, backend here',
        packet: fromOutside(ports.local),
        answer: podAnswers(f.world),
        program: tc('from_netdev'),
        ctx: skb('eth0'),
      },
      {
        name: 'from_netdev, node port, backend elsewhere',
        packet: nodePort,
        answer: remoteAnswers,
        program: tc('from_netdev'),
        ctx: skb('eth0'),
      },
      {
        name: 'xdp, node port, backend elsewhere',
        packet: nodePort,
        answer: remoteAnswers,
        open: (port, bits) => bench.runQuiet('from_netdev', 'eth0', nodePort(port, bits)),
        program: xdp.program('xdp_netdev'),
        ctx: Buffer.alloc(24),
      },
    ];
    for (const path of paths)
      console.log(
        `${f.name} ${path.name}`.padEnd(44) +
          cost(path, idle)
            .map((ns) => `${ns}`.padStart(16))
            .join(''),
      );
  }
} finally {
  xdp.close();
  plain.close();
  bench.close();
}

/** Services as the drivers write them; the last ones are those that are used. */
function fill(f: (typeof families)[number]): void {
  for (let index = 0; index < services; index++) {
    const addr = f.v6 ? `fd00:97::${(index + 1).toString(16)}` : `10.97.${index >> 8}.${index & 255}`;
    putFrontend(
      bench,
      { addr, port: ports.cluster, proto: 'tcp' },
      { id: 1000 + index, internalSet: 1, externalSet: 1 },
    );
  }
  putBackend(bench, { id: f.v6 ? 3 : 1, addr: f.b, port: ports.backend }, 'tcp');
  putBackend(bench, { id: f.v6 ? 4 : 2, addr: f.remote, port: ports.backend }, 'tcp');
  const [here, elsewhere] = f.v6 ? [3, 4] : [1, 2];
  putSet(bench, here, new Array<number>(10).fill(here));
  putSet(bench, elsewhere, new Array<number>(10).fill(elsewhere));
  putFrontend(bench, { addr: f.vip, port: ports.cluster, proto: 'tcp' }, { internalSet: here, externalSet: here });
  for (const [port, set] of [
    [ports.local, here],
    [ports.remote, elsewhere],
  ] as const)
    putFrontend(
      bench,
      { addr: f.node, port, proto: 'tcp' },
      { flags: frontendFlags.nodePort, internalSet: set, externalSet: set },
    );
}

function cost(path: Path, idle: number): (number | string)[] {
  const port = (index: number) => 32_768 + (index % flows);
  bench.clear('conntrack', 'nat', 'service_flows');
  const fresh = path.open ? undefined : time(path.program, path.ctx, (index) => path.packet(port(index), syn), flows);
  if (path.open) for (let index = 0; index < flows; index++) path.open(port(index), syn);
  for (let index = 0; index < flows; index++) path.answer(port(index));
  const first = time(path.program, path.ctx, (index) => path.packet(port(index), ack), flows);
  const spread = time(path.program, path.ctx, (index) => path.packet(port(index), ack), flows);
  const established = time(path.program, path.ctx, (index) => {
    if (index % drainEvery === 0) path.open?.(port(1), ack);
    return path.packet(port(1), ack);
  });
  bench.events();
  return [established - idle, Math.min(first, spread) - idle, fresh === undefined ? '' : fresh - idle];
}

/** The median of single runs. */
function time(program: BpfProgram, context: Buffer, packet: (index: number) => Buffer, runs = samples): number {
  return withNetns(bench.netns, () => {
    const durations: number[] = [];
    for (let index = 0; index < runs; index++) {
      // As the agent does: a ring that fills wakes its reader for every event.
      if (index % drainEvery === 0) bench.events();
      const data = packet(index);
      const ctx = context.length === 24 ? u32(0, data.length, 0, bench.ifindex('eth0'), 0, 0) : context;
      try {
        durations.push(program.testRun({ data, ctx }).durationNs);
      } catch (error) {
        // The kernel gives up a test run for any signal of the process.
        if (!isErrno(error, 'EINTR')) throw error;
      }
    }
    return median(durations);
  });
}
