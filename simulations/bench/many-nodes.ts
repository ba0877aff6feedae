/**
 * A thousand nodes of fifty pods each: how soon their rows are in the (simulated) kernel, and what remembering them takes.
 *
 * - The agent's own engine, loop and SQLite file; objects come as JSON text and are made slim, as the watch does it.
 * - Nodes come interleaved with pods, many pods before their node. Rounds: all come, one pod after another changes, all leave.
 * - The kernel's ipcache has its memory from the start.
 * - RSS is what the process has after a collection of garbage, over what it had when a hundred nodes had come and gone; what came with
 *   these is told apart.
 *
 * node simulations/bench/many-nodes.ts [ROUNDS] [NODES] [PODS] [native|vxlan|wireguard]
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterEvent, KubeObject } from '../../cluster/events.ts';
import { slimCiliumEndpoint, slimCiliumNode } from '../../cluster/slim-nodes.ts';
import type { Driver } from '../../datapath/driver.ts';
import { kinds } from '../../machines/kinds.ts';
import { IN_MEMORY } from '../../reconcilers/actual-store.ts';
import { Engine } from '../../reconcilers/engine.ts';
import { Loop } from '../../reconcilers/loop.ts';
import { ColdEvents } from '../../state/cold-events.ts';
import { Store } from '../../state/store.ts';
import {
  ciliumEndpoint,
  ciliumNode,
  kubeNode,
  type NetworkOptions,
  networkFacts,
  podAddressesOf,
  wireguardKeyOf,
} from '../cluster-nodes.ts';
import { MemoryTables, SimulatedKernel } from '../kernel.ts';
import { QuietMachine } from './quiet-machine.ts';
import { SimulatedIpcache } from './simulated-ipcache.ts';

const rounds = Number(process.argv[2] ?? 10);
const nodeCount = Number(process.argv[3] ?? 1_000);
const podCount = Number(process.argv[4] ?? 50);
const network: NetworkOptions = {
  native: {},
  vxlan: { routing: { mode: 'vxlan' as const } },
  wireguard: { routing: { mode: 'vxlan' as const }, encryption: { type: 'wireguard' as const } },
}[process.argv[5] ?? 'vxlan'] as NetworkOptions;
/** That come and go before the measurement: with them comes what the process needs once, as compiled code and SQLite's cache. */
const FIRST_NODES = 100;
/** Pods whose change is timed in each round. */
const changes = 2_000;
const patienceMs = 60_000;
const FIRST_NODE = 2;
const FIRST_POD = 2;
const mebibyte = 1 << 20;

/** As cli/axoneme starts the agent. */
const FLAGS = ['--max-semi-space-size=1', '--expose-gc'];
if (!FLAGS.every((flag) => process.execArgv.includes(flag))) {
  const again = spawnSync(process.execPath, [...FLAGS, ...process.argv.slice(1)], { stdio: 'inherit' });
  process.exit(again.status ?? 1);
}
/** What is free goes back to the system, as after the agent's first lists. */
const collectGarbage = (): void => void globalThis.gc?.({ type: 'major', flavor: 'last-resort', execution: 'sync' });
const print = (text: string): void => void process.stdout.write(`${text}\n`);

/** A CiliumNode or CiliumEndpoint as the API server sends it. */
const textOf = (object: KubeObject): string => JSON.stringify(object);
const nodeNumbers = Array.from({ length: nodeCount }, (_, at) => FIRST_NODE + at);
const podNumbers = Array.from({ length: podCount }, (_, at) => FIRST_POD + at);
const nodeText = (number: number): string =>
  textOf(ciliumNode(number, { addresses: [hostOf(number)], wireguardKey: wireguardKeyOf(number) }));
/** One big network, so that no node's address is another's. */
const hostOf = (number: number): string => `172.${16 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;
const podText = (node: number, pod: number, identity = 1_000 + pod): string =>
  textOf(ciliumEndpoint(node, pod, identity, { host: hostOf(node) }));

const folder = mkdtempSync(join(tmpdir(), 'axb-many-nodes-'));
const store = new Store(join(folder, 'state.db'));
const cold = new ColdEvents(join(folder, 'cold.db'));
const engine = new Engine(kinds, store, { events: cold, ...IN_MEMORY });
const kernel = new SimulatedKernel();
/** Four slots a row. */
const ipcache = new SimulatedIpcache(2 ** Math.ceil(Math.log2(4 * 2 * nodeCount * (podCount + 2))));
let writtenAt = 0;
const timed: Driver = {
  tables: kernel.tables,
  lane: 'kernel',
  apply: (ops) => {
    const results = ops[0]?.table === 'bpf.ipcache' ? ipcache.apply(ops) : kernel.apply(ops);
    writtenAt = performance.now();
    return results;
  },
};
const loop = new Loop({
  engine,
  drivers: [
    timed,
    new MemoryTables(['local.endpoints', 'local.policies'], 'kernel'),
    new MemoryTables(['kube.objects', 'kube.status', 'identity.claims'], 'kube'),
    new MemoryTables(['timers', 'cni.replies', 'health.checks', 'health.probes'], 'edge'),
  ],
  now: Date.now,
  onDefect: (error) => {
    throw error;
  },
});
const upserted = (resource: string, object: KubeObject): void =>
  loop.push('kube', { type: 'kube.upserted', resource, object });
const hearNode = (text: string): void => upserted('ciliumnodes', slimCiliumNode(JSON.parse(text) as KubeObject));
const hearPod = (text: string): void => upserted('ciliumendpoints', slimCiliumEndpoint(JSON.parse(text) as KubeObject));
const forget = (resource: string, text: string): void =>
  loop.push('kube', { type: 'kube.deleted', resource, object: JSON.parse(text) as KubeObject });

async function start(): Promise<void> {
  loop.push('agent', { type: 'agent.started', config: networkFacts(network) });
  if (network.encryption) loop.push('agent', { type: 'wireguard.keyed', publicKey: wireguardKeyOf(1) });
  kernel.addLink('eth0');
  const link = { name: 'eth0', kind: '', mac: '02:00:00:00:00:01', mtu: 1500, up: true, defaultRoute: true };
  loop.push('links', { type: 'link.upserted', link: { ...link, addresses: ['172.16.0.1/12', '2001:db8::1/64'] } });
  upserted('nodes', kubeNode(1, { addresses: ['172.16.0.1'], podCIDRs: ['10.200.1.0/24', 'fd00:ffff::/64'] }));
  const sources = ['local', 'links', ...['nodes', 'ciliumnodes', 'ciliumendpoints', 'ciliumendpointslices'].map(kube)];
  for (const source of sources) loop.push('test', { type: 'source.synced', source } as ClusterEvent);
  await loop.idle();
}
function kube(resource: string): string {
  return `kube/${resource}`;
}

/** The watch gives turns to others, and so does this: a kernel op is applied while objects still come. */
const EVENTS_A_TURN = 100;

async function all(work: Iterable<() => void>): Promise<void> {
  let count = 0;
  for (const one of work) {
    one();
    if (++count % EVENTS_A_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await loop.idle();
}

function* joining(numbers = nodeNumbers): Generator<() => void> {
  for (const number of numbers) {
    // Every other node is heard of after its pods.
    if (number % 2 === 0) yield () => hearNode(nodeText(number));
    for (const pod of podNumbers) yield () => hearPod(podText(number, pod));
    if (number % 2 === 1) yield () => hearNode(nodeText(number));
  }
}

function* leaving(numbers = nodeNumbers): Generator<() => void> {
  for (const number of numbers) {
    for (const pod of podNumbers) yield () => forget('ciliumendpoints', podText(number, pod));
    yield () => forget('ciliumnodes', nodeText(number));
  }
}

function isThere(node: number, pod: number, identity: number): boolean {
  return podAddressesOf(node, pod).every(
    (address) => ipcache.identityOf(`${address}/${address.includes(':') ? 128 : 32}`) === identity,
  );
}

/** From the object's text to the write, one after another. */
async function latencies(): Promise<number[]> {
  const found: number[] = [];
  for (let at = 0; at < changes; at++) {
    const node = FIRST_NODE + ((at * 7919) % nodeCount);
    const text = podText(node, FIRST_POD + (at % podCount), 30_000 + at);
    const before = performance.now();
    hearPod(text);
    await loop.idle();
    found.push(writtenAt - before);
  }
  return found.sort((a, b) => a - b);
}

const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;

function memory(): { rss: number; heap: number } {
  for (let i = 0; i < 3; i++) collectGarbage();
  return { rss: process.memoryUsage.rss(), heap: process.memoryUsage().heapUsed };
}

const quiet = new QuietMachine(patienceMs);
await start();
const started = memory();
const first = nodeNumbers.slice(0, FIRST_NODES);
await all(joining(first));
await all(leaving(first));
const before = memory();
const kib = (bytes: number): string => `${(bytes / 1024 / nodeCount).toFixed(1)} KiB`;
const empty = ipcache.size;
print(`${nodeCount} nodes of ${podCount} pods, both families, ${process.argv[5] ?? 'vxlan'}`);
const once = (before.rss - started.rss) / mebibyte;
print(`${first.length} nodes that came and went before: RSS +${once.toFixed(1)} MiB, in no figure below`);
let fastest = Number.POSITIVE_INFINITY;
for (let round = 1; round <= rounds; round++) {
  await quiet.wait();
  const beganAt = performance.now();
  const usedBefore = process.cpuUsage();
  await all(joining());
  const tookMs = performance.now() - beganAt;
  const { user, system } = process.cpuUsage(usedBefore);
  fastest = Math.min(fastest, tookMs);
  const rows = ipcache.size - empty;
  if (!isThere(FIRST_NODE, FIRST_POD, 1_000 + FIRST_POD)) throw new Error('a pod has no rows');
  const full = memory();
  const sorted = await latencies();
  await all(leaving());
  const after = memory();
  if (ipcache.size !== empty) throw new Error('rows are left');
  print(
    `round ${round}: ${rows} ipcache rows in ${(tookMs / 1000).toFixed(2)} s (${((user + system) / 1e6).toFixed(2)} s of processor, collector included); a node ${kib(full.rss - before.rss)} of RSS, ${kib(full.heap - before.heap)} of heap; ` +
      `a change p50 ${quantile(sorted, 0.5).toFixed(3)} ms, p99 ${quantile(sorted, 0.99).toFixed(3)} ms; ` +
      `after they left RSS +${((after.rss - before.rss) / mebibyte).toFixed(1)} MiB, heap +${((after.heap - before.heap) / mebibyte).toFixed(2)} MiB`,
  );
}
print(`fastest ${(fastest / 1000).toFixed(2)} s (wanted: under 5 s, 20 KiB a node, p99 under 1 ms, nothing left)`);
if (quiet.disturbed) print('others used the processors: no clean measurement');
await loop.stop();
store.close();
cold.close();
rmSync(folder, { recursive: true });
