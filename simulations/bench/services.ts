/**
 * Services beside kube-proxy's nftables and iptables layouts, in namespaces of their own, in one run:
 *
 *   node simulations/bench/services.ts [--part connect,change,start] [--services 1,1000,10000,30000] [--layouts nftables,iptables-legacy,iptables-nft]
 *                                      [--seconds S] [--changes N] [--load-seconds S] [--patience S]
 *
 * - connect: connect, request, close to the last of N services × 2 endpoints, ours in the socket and theirs in the client's namespace, each
 *   against the pod's address without any rules, side by side.
 * - change: one endpoint of N × 10 changes: ours from watch event to map write in-process; theirs the incremental update, process and all.
 * - start: from event log to kernel complete, N × 10, with the memory of the process.
 * - The peers' tools are Debian's nftables and iptables; a layout whose tool is missing, or that is not loaded in `--load-seconds`, is left
 *   out, and said so.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { changeRules, type Layout, layouts, loadRules, missing, OutOfTime } from './kube-proxy-peers.ts';
import type { Services } from './kube-proxy-rules.ts';
import { QuietMachine } from './quiet-machine.ts';
import { type SocketServices, socketServices } from './service-maps.ts';
import { buildClients, type Connected, type ConnectPath, sideBySide } from './side-by-side.ts';
import { Wires } from './wires.ts';

const parts = ['connect', 'change', 'start'] as const;

const { values: flags } = parseArgs({
  options: {
    part: { type: 'string', default: parts.join() },
    services: { type: 'string', default: '1,1000,10000,30000' },
    layouts: { type: 'string', default: 'nftables,iptables-legacy' },
    seconds: { type: 'string', default: '6' },
    changes: { type: 'string', default: '1000' },
    'load-seconds': { type: 'string', default: '240' },
    patience: { type: 'string', default: '20' },
  },
});
const sizes = flags.services.split(',').map(Number);
const wanted = chosen('layouts', layouts);
const quiet = new QuietMachine(Number(flags.patience) * 1_000);
const PORT = 9_000;
const VIP_PORT = 80;
const CONNECT_RATIO_MAX = 1.03;
const CHANGE_P99_MS_MAX = 2;
const CHANGE_RATIO_MIN = 50;
const START_MS_MAX = 5_000;
const RSS_MIB_MAX = 400;
const PEER_CHANGES = 3;
const loadMsMax = Number(flags['load-seconds']) * 1_000;
let missed = 0;

function chosen<const C extends string>(flag: 'layouts' | 'part', known: readonly C[]): C[] {
  const words = flags[flag].split(',');
  const unknown = words.filter((word) => !(known as readonly string[]).includes(word));
  if (unknown.length > 0) throw new Error(`flag --${flag}: no ${unknown.join(', ')}; there are ${known.join(', ')}`);
  return words as C[];
}

/** Addresses of the last service's endpoints are the server's, all others nobody's. */
const servicesOf = (count: number, endpoints: number, server: string, shift = 0): Services => ({
  count,
  endpoints,
  port: VIP_PORT,
  targetPort: PORT,
  clusterIP: (i) => `10.96.${(i + 1) >> 8}.${(i + 1) & 255}`,
  endpoint: (i, e) => (i === count - 1 && shift === 0 ? server : `10.${e + 1 + shift}.${i >> 8}.${i & 255}`),
});

function verdict(isMet: boolean, target: string): string {
  if (!isMet) missed++;
  return `  target ${target}: ${isMet ? 'met' : 'MISSED'}`;
}

/** Undefined, and said why, when there is no such peer here or it takes too long. */
async function loaded(layout: Layout, netns: string, services: Services): Promise<number | undefined> {
  const why = missing(layout);
  try {
    if (why === undefined) return await loadRules(layout, netns, services, loadMsMax);
  } catch (error) {
    if (!(error instanceof OutOfTime)) throw error;
    console.log(`  ${layout.padEnd(24)} left out: ${error.message}`);
    return undefined;
  }
  console.log(`  ${layout.padEnd(24)} left out: ${why}`);
  return undefined;
}

// --- connect

async function connect(count: number): Promise<number> {
  console.log(
    `connect, request, close, last of ${count} services × 2: us, and ratio to the pod's address (half of the blocks within)`,
  );
  const wires = new Wires();
  let own: SocketServices | undefined;
  try {
    const bare = wires.client('bare');
    const base = { netns: bare.netns, cgroup: '' };
    const paths: ConnectPath[] = [{ ...base, name: 'pod address, no rules', address: bare.server, port: PORT }];
    const services = servicesOf(count, 2, bare.server);
    own = socketServices(bare.netns, services);
    const { cgroup } = own;
    paths.push({ ...base, cgroup, name: 'ours', address: services.clusterIP(count - 1), port: VIP_PORT });
    for (const layout of wanted) {
      const { netns, server } = wires.client(layout);
      const theirs = servicesOf(count, 2, server);
      if ((await loaded(layout, netns, theirs)) === undefined) continue;
      const common = { netns, cgroup: '' };
      paths.push({ ...common, name: layout, address: theirs.clusterIP(count - 1), port: VIP_PORT });
      paths.push({ ...common, name: `${layout}, pod address`, address: server, port: PORT });
    }
    await quiet.wait();
    const found = await sideBySide(paths, { server: wires.server, port: PORT, seconds: Number(flags.seconds) });
    for (const [i, { name }] of paths.entries()) {
      const { us, ratio, spread } = found[i] as Connected;
      const target = name === 'ours' ? verdict(ratio <= CONNECT_RATIO_MAX, `≤ ${CONNECT_RATIO_MAX}`) : '';
      const half = spread.map((one) => one.toFixed(3)).join('–');
      console.log(`  ${name.padEnd(28)} ${us.toFixed(2).padStart(9)} ${ratio.toFixed(3)} (${half})${target}`);
    }
    return found[1]?.ratio ?? Number.NaN;
  } finally {
    own?.close();
    wires.close();
  }
}

async function connects(): Promise<void> {
  buildClients();
  const ratios: number[] = [];
  for (const count of sizes) ratios.push(await connect(count));
  const growth = (ratios.at(-1) ?? 0) / (ratios[0] ?? 1);
  if (sizes.length > 1)
    console.log(
      `  ours from ${sizes[0]} to ${sizes.at(-1)} services: ${growth.toFixed(3)}${verdict(growth <= CONNECT_RATIO_MAX, `≤ ${CONNECT_RATIO_MAX}`)}`,
    );
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
  const { stdout, status } = spawnSync('nice', ['-n', '-20', process.execPath, ...args], {
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
      const { netns, server } = wires.client(layout);
      const services = servicesOf(count, 10, server);
      const loadMs = await loaded(layout, netns, services);
      if (loadMs === undefined) continue;
      let best = Number.POSITIVE_INFINITY;
      for (let i = 0; i < PEER_CHANGES; i++) {
        await quiet.wait();
        const moved = servicesOf(count, 10, server, 50 + 20 * i);
        best = Math.min(best, await changeRules(layout, netns, { services, i: i % count, moved }, loadMsMax));
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
if (asked.includes('connect')) await connects();
if (asked.includes('change') || asked.includes('start')) await changeAndStart();
if (quiet.disturbed) console.log('Others used the processors meanwhile: these figures are not to be trusted.');
process.exitCode = missed > 0 ? 1 : 0;
