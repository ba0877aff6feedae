/**
 * Services beside kube-proxy's nftables and iptables layouts, in namespaces of their own, in one run:
 *
 *   node simulations/bench/services.ts [--part connect,change,start] [--services 1,1000,10000] [--layouts nftables,iptables-legacy,iptables-nft]
 *                                      [--rounds N] [--seconds S] [--changes N] [--patience S]
 *
 * - connect: connect, request, close to the last of N services × 2 endpoints, ours in the socket and theirs in the client's namespace, each
 *   against the pod's address without any rules; best of the rounds' medians.
 * - change: one endpoint of N × 10 changes: ours from watch event to map write in-process; theirs the incremental update, process and all.
 * - start: from event log to kernel complete, N × 10, with the memory of the process.
 * - The peers' tools are Debian's nftables and iptables; a layout whose tool is missing is left out, and said so. nftables is loaded in
 *   transactions of 1,000 services, which kube-proxy does not do; a single one takes minutes for 10,000.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { SockPrograms } from '../../bpf/test/sock-programs.ts';
import { inCgroup } from '../../datapath/cgroup2.ts';
import { encode } from '../../datapath/codec.ts';
import { createNetns, deleteNetns, withNetns } from '../../native/index.ts';
import {
  iptablesAll,
  iptablesChange,
  nftablesBase,
  nftablesChange,
  nftablesServices,
  type Services,
} from './kube-proxy-rules.ts';
import { QuietMachine } from './quiet-machine.ts';

const layouts = ['nftables', 'iptables-legacy', 'iptables-nft'] as const;
type Layout = (typeof layouts)[number];
const parts = ['connect', 'change', 'start'] as const;

const { values: flags } = parseArgs({
  options: {
    part: { type: 'string', default: parts.join() },
    services: { type: 'string', default: '1,1000,10000' },
    layouts: { type: 'string', default: 'nftables,iptables-legacy' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '0.3' },
    changes: { type: 'string', default: '1000' },
    patience: { type: 'string', default: '20' },
  },
});
const sizes = flags.services.split(',').map(Number);
const wanted = chosen('layouts', layouts);
const quiet = new QuietMachine(Number(flags.patience) * 1_000);
const bbnet = join(import.meta.dirname, 'build/bbnet');
const PORT = 9_000;
const VIP_PORT = 80;
const IPPROTO_TCP = 6;
const CONNECT_RATIO_MAX = 1.03;
const CHANGE_P99_MS_MAX = 2;
const CHANGE_RATIO_MIN = 50;
const START_MS_MAX = 5_000;
const RSS_MIB_MAX = 400;
const NFT_TRANSACTION = 1_000;
const PEER_CHANGES = 3;
let missed = 0;
let made = 0;

function chosen<const C extends string>(flag: 'layouts' | 'part', known: readonly C[]): C[] {
  const words = flags[flag].split(',');
  const unknown = words.filter((word) => !(known as readonly string[]).includes(word));
  if (unknown.length > 0) throw new Error(`flag --${flag}: no ${unknown.join(', ')}; there are ${known.join(', ')}`);
  return words as C[];
}

const ip = (netns: string, command: string): unknown =>
  execFileSync('nsenter', [`--net=${netns}`, 'ip', ...command.split(' ')], { stdio: ['ignore', 'ignore', 'pipe'] });

/** Addresses of the last service's endpoints are the server's, all others nobody's. */
const servicesOf = (count: number, endpoints: number, server: string, shift = 0): Services => ({
  count,
  endpoints,
  port: VIP_PORT,
  targetPort: PORT,
  clusterIP: (i) => `10.96.${(i + 1) >> 8}.${(i + 1) & 255}`,
  endpoint: (i, e) => (i === count - 1 && shift === 0 ? server : `10.${e + 1 + shift}.${i >> 8}.${i & 255}`),
});

/** A client's namespace, wired to the server's. */
interface Client {
  netns: string;
  server: string;
}

class Wires {
  readonly server = `/run/netns/axb-${process.pid}-server`;
  readonly #clients: string[] = [];

  constructor() {
    createNetns(this.server, { loopbackUp: true });
  }

  client(purpose: string): Client {
    const netns = `/run/netns/axb-${process.pid}-${purpose}`;
    const index = this.#clients.push(netns);
    createNetns(netns, { loopbackUp: true });
    ip(netns, `link add eth0 type veth peer name far${index}`);
    ip(netns, `link set far${index} netns ${this.server.slice('/run/netns/'.length)}`);
    ip(netns, `address add 198.18.${index}.1/24 dev eth0`);
    ip(this.server, `address add 198.18.${index}.2/24 dev far${index}`);
    ip(netns, 'link set eth0 up');
    ip(this.server, `link set far${index} up`);
    // Rules translate after a route is found.
    ip(netns, `route add default via 198.18.${index}.2`);
    for (const path of [netns, this.server])
      withNetns(path, () => writeFileSync('/proc/sys/net/ipv4/tcp_max_tw_buckets', '0'));
    return { netns, server: `198.18.${index}.2` };
  }

  close(): void {
    for (const netns of [...this.#clients, this.server]) deleteNetns(netns);
  }
}

function feed(netns: string, tool: string, args: string[], text: string): number {
  const began = performance.now();
  const { status, stderr, error } = spawnSync('nsenter', [`--net=${netns}`, tool, ...args], {
    input: text,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (error) throw error;
  if (status !== 0) throw new Error(`${tool}: ${stderr.slice(0, 400)}`);
  return performance.now() - began;
}

const toolOf = (layout: Layout): string => (layout === 'nftables' ? 'nft' : `${layout}-restore`);
const isThere = (tool: string): boolean => spawnSync('sh', ['-c', `command -v ${tool}`]).status === 0;

/** How long it took, in milliseconds. */
function loadRules(layout: Layout, netns: string, services: Services): number {
  if (layout !== 'nftables') return feed(netns, toolOf(layout), [], iptablesAll(services));
  let ms = feed(netns, 'nft', ['-f', '-'], nftablesBase());
  for (let from = 0; from < services.count; from += NFT_TRANSACTION) {
    const text = nftablesServices(services, from, Math.min(services.count, from + NFT_TRANSACTION));
    ms += feed(netns, 'nft', ['-f', '-'], text);
  }
  return ms;
}

function changeRules(layout: Layout, netns: string, services: Services, i: number, moved: Services): number {
  if (layout === 'nftables') return feed(netns, 'nft', ['-f', '-'], nftablesChange(services, i, moved));
  return feed(netns, toolOf(layout), ['--noflush', '--counters'], iptablesChange(services, i, moved));
}

// --- connect

interface Path {
  name: string;
  netns: string;
  address: string;
  port: number;
  cgroup: string;
}

async function connect(): Promise<void> {
  execFileSync('make', ['--silent', '-C', import.meta.dirname], { stdio: ['ignore', 'ignore', 'inherit'] });
  for (const count of sizes) {
    const wires = new Wires();
    const programs: SockPrograms[] = [];
    try {
      const bare = wires.client('bare');
      const paths: Path[] = [
        { name: 'pod address, no rules', netns: bare.netns, address: bare.server, port: PORT, cgroup: '' },
      ];
      const own = new SockPrograms(`axb-${process.pid}-${++made}`, bare.netns);
      programs.push(own);
      const services = servicesOf(count, 2, bare.server);
      fill(own, services);
      paths.push({
        name: 'ours',
        netns: bare.netns,
        address: services.clusterIP(count - 1),
        port: VIP_PORT,
        cgroup: own.cgroup,
      });
      for (const layout of wanted.filter((one) => isThere(toolOf(one)))) {
        const { netns, server } = wires.client(layout);
        const theirs = servicesOf(count, 2, server);
        loadRules(layout, netns, theirs);
        paths.push({ name: layout, netns, address: theirs.clusterIP(count - 1), port: VIP_PORT, cgroup: '' });
      }
      const p50 = await measure(paths, wires.server);
      console.log(
        `connect, request, close, last of ${count} services × 2: best median, us, and ratio to the pod's address`,
      );
      for (const [i, { name }] of paths.entries()) {
        const ratio = (p50[i] ?? 0) / (p50[0] ?? 1);
        const target = name === 'ours' ? verdict(ratio <= CONNECT_RATIO_MAX, `≤ ${CONNECT_RATIO_MAX}`) : '';
        console.log(`  ${name.padEnd(24)} ${(p50[i] ?? 0).toFixed(2).padStart(9)} ${ratio.toFixed(3)}${target}`);
      }
    } finally {
      for (const one of programs) one.close();
      wires.close();
    }
  }
}

function verdict(isMet: boolean, target: string): string {
  if (!isMet) missed++;
  return `  target ${target}: ${isMet ? 'met' : 'MISSED'}`;
}

function fill({ object, codecs }: SockPrograms, { count, endpoints, clusterIP, endpoint }: Services): void {
  const rows: Record<string, [key: unknown, value: unknown][]> = {
    backends: [],
    backend_slots: [],
    backend_sets: [],
    frontends: [],
  };
  for (let i = 0; i < count; i++) {
    for (let slot = 0; slot < endpoints; slot++) {
      const id = 1 + i * endpoints + slot;
      rows['backends']?.push([id, { addr: endpoint(i, slot), port: PORT, proto: IPPROTO_TCP }]);
      rows['backend_slots']?.push([{ set: i + 1, slot }, id]);
    }
    rows['backend_sets']?.push([i + 1, { count: endpoints, maglevSize: 0, affinityTimeout: 0 }]);
    const key = { addr: clusterIP(i), port: VIP_PORT, proto: IPPROTO_TCP };
    rows['frontends']?.push([key, { id: i + 1, internalSet: i + 1, externalSet: i + 1, flags: 0 }]);
  }
  for (const [map, entries] of Object.entries(rows)) {
    const { key, value } = codecs.map(map);
    const keys = Buffer.concat(entries.map(([row]) => encode<unknown>(key, row)));
    const values = Buffer.concat(entries.map(([, row]) => encode<unknown>(value, row)));
    object.map(map).putBatch(keys, values, entries.length);
  }
}

/** Best median of each path, in microseconds. */
async function measure(paths: readonly Path[], server: string): Promise<number[]> {
  const best = paths.map(() => Number.POSITIVE_INFINITY);
  const echo = spawn(bbnet, ['server', server, '1', String(PORT)], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(echo.stdout, 'data');
  for (let round = 0; round < Number(flags.rounds); round++) {
    for (let i = 0; i < paths.length; i++) {
      const at = (i + round) % paths.length;
      await quiet.wait();
      best[at] = Math.min(best[at] ?? 0, await turn(paths[at] as Path));
    }
  }
  echo.stdin.end();
  await once(echo, 'exit');
  return best;
}

async function turn({ netns, address, port, cgroup, name }: Path): Promise<number> {
  const argv = [bbnet, 'client', netns, '0', `::ffff:${address}`, String(port), 'crr', flags.seconds];
  const [program = '', ...args] = inCgroup(cgroup, argv);
  const run = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  run.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const [code] = await once(run, 'close');
  const found = /\bp50=(\S+)/.exec(output)?.[1];
  if (code !== 0 || found === undefined) throw new Error(`${name}: bbnet ended with ${code}: ${output}`);
  return Number(found);
}

// --- change and start

interface Measured {
  startMs: number;
  cpuMs: number;
  /** MiB; at the end of the start, and after the heap was compacted. */
  peak: number;
  rss: number;
  heap: number;
  empty: number;
  p50: number;
  p99: number;
  max: number;
}

/** In a process of its own, with the agent's flags. */
async function ours(count: number): Promise<Measured> {
  await quiet.wait();
  const script = join(import.meta.dirname, 'services-process.ts');
  const nodeFlags = ['--max-semi-space-size=1', '--expose-gc', '--disable-warning=ExperimentalWarning'];
  const args = [...nodeFlags, script, String(count), '10', flags.changes];
  const { stdout, status } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) throw new Error(`services-process ended with ${status}`);
  return JSON.parse(stdout) as Measured;
}

async function changeAndStart(): Promise<void> {
  for (const count of sizes) {
    const measured = await ours(count);
    if (asked.includes('start')) {
      const { startMs, cpuMs, peak, rss, heap, empty } = measured;
      const isMeant = count === 10_000;
      console.log(`from event log to kernel complete, ${count} services × 10`);
      console.log(
        `  time                     ${startMs.toFixed(0)} ms (${cpuMs.toFixed(0)} ms of processor)${isMeant ? verdict(startMs < START_MS_MAX, `< ${START_MS_MAX} ms`) : ''}`,
      );
      console.log(
        `  RSS                      ${rss.toFixed(0)} MiB at rest (${peak.toFixed(0)} right after, ${empty.toFixed(0)} before, heap in use ${heap.toFixed(0)})${isMeant ? verdict(rss < RSS_MIB_MAX, `< ${RSS_MIB_MAX} MiB`) : ''}`,
      );
    }
    if (asked.includes('change')) await change(count, measured);
  }
}

async function change(count: number, { p50, p99, max }: Measured): Promise<void> {
  console.log(`one endpoint of ${count} services × 10 changes`);
  const target = count === 10_000 ? verdict(p99 < CHANGE_P99_MS_MAX, `p99 < ${CHANGE_P99_MS_MAX} ms`) : '';
  console.log(
    `  ours, event → map write  p50 ${p50.toFixed(3)} ms, p99 ${p99.toFixed(3)} ms, max ${max.toFixed(1)} ms${target}`,
  );
  const wires = new Wires();
  try {
    for (const layout of wanted) {
      if (!isThere(toolOf(layout))) {
        console.log(
          `  ${layout.padEnd(24)} left out: there is no ${toolOf(layout)} (apt-get install ${layout === 'nftables' ? 'nftables' : 'iptables'})`,
        );
        continue;
      }
      const { netns, server } = wires.client(layout);
      const services = servicesOf(count, 10, server);
      const loadMs = loadRules(layout, netns, services);
      let best = Number.POSITIVE_INFINITY;
      for (let i = 0; i < PEER_CHANGES; i++) {
        await quiet.wait();
        best = Math.min(
          best,
          changeRules(layout, netns, services, i % count, servicesOf(count, 10, server, 50 + 20 * i)),
        );
        if (count === 1) break; // the same endpoint does not move twice
      }
      const ratio = best / p50;
      const against =
        layout === 'nftables' && count === 10_000 ? verdict(ratio >= CHANGE_RATIO_MIN, `≥ ${CHANGE_RATIO_MIN} ×`) : '';
      console.log(
        `  ${layout.padEnd(24)} ${best.toFixed(1)} ms, ${ratio.toFixed(0)} × ours${against}; full load ${(loadMs / 1_000).toFixed(2)} s`,
      );
    }
  } finally {
    wires.close();
  }
}

const asked = chosen('part', parts);
if (asked.includes('connect')) await connect();
if (asked.includes('change') || asked.includes('start')) await changeAndStart();
if (quiet.disturbed) console.log('Others used the processors meanwhile: these figures are not to be trusted.');
process.exitCode = missed > 0 ? 1 : 0;
