/**
 * Pod to pod on one node: ours against the least that eBPF can do (the floor), a bare veth, and host routing with conntrack.
 *
 *   node simulations/bench/pod-to-pod.ts [--rounds N] [--seconds S] [--patience S] [--modes stream,rr,udp,crr] [--json FILE] [--netkit]
 *
 * - All paths in one run, a short turn each, in a new order each round: the machine's speed swings more than they differ.
 * - Targets are about the best round of each path, because a shared machine only takes away. The ratio of medians stands beside: a
 *   lucky round of bulk TCP or UDP (which cores, how they meet) is a fifth above the rest on any path, host routing included.
 * - Before each turn it waits until the machine is otherwise idle, `patience` seconds in all.
 * - Visibility: the same with traces (default aggregation) against without, next to each other in every round, in the order A B and
 *   then B A: the target is about the median of the ratios of such pairs, since bulk TCP has a fast and a slow mood that lasts for seconds.
 * - With `--netkit` also pods that netkit links to the node, for kernels that have it (the lab's 6.12).
 * - Client on CPU 0, server on CPU 1, both polling. Exit code 1 when a target is missed.
 */
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { parseArgs } from 'node:util';
import { withNetns } from '../../native/index.ts';
import {
  axoneme,
  axonemeNetkit,
  axonemeSilent,
  directVeth,
  floor,
  hostRouting,
  type Path,
} from './pod-to-pod-paths.ts';
import { QuietMachine } from './quiet-machine.ts';

interface Measure {
  title: string;
  mode: 'rr' | 'crr' | 'udp' | 'stream';
  /** Which word of bbnet's output. */
  value: 'p50' | 'rate' | 'gbps';
  unit: string;
  scale: number;
  better: 'more' | 'less';
  family: 'ipv4' | 'ipv6';
  /** Bound of ours against the floor, from the issue. */
  target?: number;
}

/** Bound of what a packet costs without traces to what it costs with them, from the issue. */
const VISIBILITY_MIN = 0.97;

const allMeasures: readonly Measure[] = [
  {
    title: 'TCP stream',
    mode: 'stream',
    value: 'gbps',
    unit: 'Gbit/s',
    scale: 1,
    better: 'more',
    family: 'ipv4',
    target: 0.95,
  },
  { title: 'RR p50', mode: 'rr', value: 'p50', unit: 'us', scale: 1, better: 'less', family: 'ipv4', target: 1.1 },
  {
    title: 'UDP 64 B',
    mode: 'udp',
    value: 'rate',
    unit: 'kpps',
    scale: 1e-3,
    better: 'more',
    family: 'ipv4',
    target: 0.85,
  },
  { title: 'CRR p50', mode: 'crr', value: 'p50', unit: 'us', scale: 1, better: 'less', family: 'ipv4' },
  { title: 'RR p50, IPv6', mode: 'rr', value: 'p50', unit: 'us', scale: 1, better: 'less', family: 'ipv6' },
];

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '12' },
    seconds: { type: 'string', default: '0.4' },
    patience: { type: 'string', default: '120' },
    modes: { type: 'string', default: 'stream,rr,udp,crr' },
    json: { type: 'string' },
    netkit: { type: 'boolean', default: false },
  },
});
const rounds = positive('--rounds', flags.rounds);
const seconds = positive('--seconds', flags.seconds);
const measures = allMeasures.filter(({ mode }) => flags.modes.split(',').includes(mode));
const quiet = new QuietMachine(positive('--patience', flags.patience) * 1000);
const bbnet = join(import.meta.dirname, 'build/bbnet');
const port = 9000;
type Server = ChildProcessByStdio<Writable, Readable, null>;

const paths: Path[] = [];
const servers: Server[] = [];
for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, () => {
    cleanUp();
    process.exit(1);
  });
try {
  execFileSync('make', ['--silent', '-C', import.meta.dirname], { stdio: ['ignore', 'ignore', 'inherit'] });
  const object = join(import.meta.dirname, '../../bpf/build/datapath.o');
  // One by one: what the first ones set up is taken down when a later one fails.
  const ours = [axoneme, axonemeSilent, ...(flags.netkit ? [axonemeNetkit] : [])].map((setUp) => () => setUp(object));
  for (const setUp of [floor, directVeth, hostRouting, ...ours]) paths.push(setUp());
  const results = await measureAll();
  const missed = report(results);
  if (flags.json !== undefined) writeFileSync(flags.json, `${JSON.stringify(results, undefined, 1)}\n`);
  process.exitCode = missed.length > 0 ? 1 : 0;
} finally {
  cleanUp();
}

function cleanUp(): void {
  for (const server of servers.splice(0)) server.kill('SIGKILL');
  for (const path of paths.splice(0)) path.close();
}

/** Values of all rounds, by measure and path. */
type Results = Record<string, Record<string, number[]>>;

async function measureAll(): Promise<Results> {
  const results: Results = {};
  for (let round = 0; round < rounds; round += 1) {
    for (const measure of measures) {
      const able = paths.filter((path) => path.families.includes(measure.family));
      for (const path of paired(rotated(able, round), round)) {
        await quiet.wait();
        const server = await serve(path);
        add(results, measure.title, path.name, await run(path, measure));
        await stop(server);
      }
    }
    if (process.stderr.isTTY) process.stderr.write(`\rround ${round + 1} of ${rounds}`);
  }
  if (process.stderr.isTTY) process.stderr.write('\n');
  return results;
}

function add(results: Results, title: string, path: string, value: number): void {
  const ofTitle = results[title] ?? {};
  results[title] = { ...ofTitle, [path]: [...(ofTitle[path] ?? []), value] };
}

/** One server at a time: two would share CPU 1. */
async function serve(path: Path): Promise<Server> {
  // Port reuse by thousands of short connections would meet the closed ones.
  withNetns(path.server.netns, () => writeFileSync('/proc/sys/net/ipv4/tcp_max_tw_buckets', '0'));
  const server = spawn(bbnet, ['server', path.server.netns, '1', String(port)], { stdio: ['pipe', 'pipe', 'inherit'] });
  servers.push(server);
  await Promise.race([
    once(server.stdout, 'data'),
    once(server, 'exit').then(() => Promise.reject(new Error('bbnet server ended'))),
  ]);
  return server;
}

async function stop(server: Server): Promise<void> {
  server.stdin.end();
  await once(server, 'exit');
  servers.splice(servers.indexOf(server), 1);
}

async function run(path: Path, { mode, family, value, scale }: Measure): Promise<number> {
  const address = family === 'ipv4' ? `::ffff:${path.server.ipv4}` : path.server.ipv6;
  const client = spawn(bbnet, ['client', path.client, '0', address, String(port), mode, String(seconds)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  client.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const [code] = await once(client, 'close');
  const found = new RegExp(`\\b${value}=(\\S+)`).exec(output)?.[1];
  if (code !== 0 || found === undefined)
    throw new Error(`${path.name}, ${mode} over ${family}: bbnet ended with ${code}: ${output}`);
  return Number(found) * scale;
}

/** Prints the table and returns the titles of missed targets. */
function report(results: Results): string[] {
  const missed: string[] = [];
  console.log(`pod to pod on one node, ${rounds} rounds: best (range), ratio to the floor's best, of the medians`);
  for (const measure of measures) {
    console.log(`${measure.title}, ${measure.unit}, ${measure.better} is better`);
    // IPv6 has no floor: the plain program is IPv4 only.
    const ofPaths = results[measure.title] ?? {};
    const base = ofPaths['floor'] ?? ofPaths['direct veth'];
    for (const { name } of paths) {
      const values = ofPaths[name];
      if (values === undefined || base === undefined) continue;
      const value = best(measure, values);
      const ratio = value / best(measure, base);
      const range = `${Math.min(...values).toFixed(1)}–${Math.max(...values).toFixed(1)}`;
      let judgement = '';
      if (name === 'axoneme' && measure.target !== undefined) {
        const met = measure.better === 'more' ? ratio >= measure.target : ratio <= measure.target;
        judgement = `  target ${measure.better === 'more' ? '≥' : '≤'} ${measure.target.toFixed(2)}: ${met ? 'met' : 'MISSED'}`;
        if (!met) missed.push(measure.title);
      }
      console.log(
        `  ${name.padEnd(20)} ${value.toFixed(1).padStart(8)} ${`(${range})`.padEnd(16)} ${ratio.toFixed(2)} ${(median(values) / median(base)).toFixed(2)}${judgement}`,
      );
    }
  }
  missed.push(...visibility(results));
  if (quiet.disturbed) console.log('Others used the processors meanwhile: these figures are not to be trusted.');
  return missed;
}

/** What telling of packets costs them. */
function visibility(results: Results): string[] {
  const missed: string[] = [];
  console.log('visibility: with traces against without, median of the pairs');
  for (const measure of measures) {
    const { axoneme: on, 'axoneme, no traces': off } = results[measure.title] ?? {};
    if (!on || !off) continue;
    const share = (a: number, b: number): number => (measure.better === 'more' ? a / b : b / a);
    const pairs = on.map((value, round) => share(value, off[round] ?? Number.NaN));
    const ratio = median(pairs);
    const isAsked = measure.mode === 'rr' || measure.mode === 'stream';
    const isMet = ratio >= VISIBILITY_MIN;
    const judgement = isAsked ? `  target ≥ ${VISIBILITY_MIN}: ${isMet ? 'met' : 'MISSED'}` : '';
    if (isAsked && !isMet) missed.push(`visibility, ${measure.title}`);
    console.log(
      `  ${measure.title.padEnd(20)} ${ratio.toFixed(2)} (pairs ${quartiles(pairs).join('–')}, best ${share(best(measure, on), best(measure, off)).toFixed(2)})${judgement}`,
    );
  }
  return missed;
}

function best({ better }: Measure, values: readonly number[]): number {
  return better === 'more' ? Math.max(...values) : Math.min(...values);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

function rotated<T>(items: readonly T[], by: number): T[] {
  const start = by % items.length;
  const order = [...items.slice(start), ...items.slice(0, start)];
  // Every other turn backwards, so that no path always follows the same one.
  return Math.floor(by / items.length) % 2 === 0 ? order : order.reverse();
}

/** The middle half. */
function quartiles(values: readonly number[]): string[] {
  const sorted = values.toSorted((a, b) => a - b);
  return [sorted[sorted.length >> 2], sorted[(3 * sorted.length) >> 2]].map((value) =>
    (value ?? Number.NaN).toFixed(2),
  );
}

/** With and without traces right after each other, the first of them in turn. */
function paired(order: readonly Path[], round: number): Path[] {
  const isPair = ({ name }: Path): boolean => name.startsWith('axoneme');
  const pair = order.filter(isPair).sort((a, b) => (a.name < b.name ? -1 : 1));
  if (round % 2 === 1) pair.reverse();
  const at = order.findIndex(isPair);
  return order.flatMap((path, index) => (index === at ? pair : isPair(path) ? [] : [path]));
}

function positive(flag: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`${flag} wants a positive number, not '${text}'`);
  return value;
}
