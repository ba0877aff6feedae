/**
 * Pod to pod between two nodes: ours by native routing against plain routing of the kernel through the same namespaces, ours by VXLAN
 * against native, with the kernel's own VXLAN beside.
 *
 *   node simulations/bench/nodes.ts [--rounds N] [--seconds S] [--patience S] [--json FILE]
 *
 * - All paths in one run, a short turn each, in a new order each round; before each turn it waits until the machine is otherwise idle.
 * - Targets are about the best round of each path, because a shared machine only takes away. Exit code 1 when one is missed.
 */
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { parseArgs } from 'node:util';
import { axoneme, kernelVxlan, type NodesPath, plainRouting } from './nodes-paths.ts';
import { QuietMachine } from './quiet-machine.ts';

const NATIVE = 'axoneme native';
const VXLAN = 'axoneme vxlan';
const PLAIN = 'plain routing';
const KERNEL_VXLAN = 'kernel VXLAN';

interface Measure {
  title: string;
  mode: 'rr' | 'udp' | 'stream';
  /** Which word of bbnet's output, and what makes the unit of it. */
  value: 'p50' | 'rate' | 'gbps';
  scale: number;
  better: 'more' | 'less';
  family: 'ipv4' | 'ipv6';
  /** Bounds of the issue: of which path, against which. */
  targets: readonly { of: string; against: string; bound: number }[];
}

const nativeTo = (bound: number) => ({ of: NATIVE, against: PLAIN, bound });
const vxlanTo = (bound: number) => ({ of: VXLAN, against: NATIVE, bound });
const measures: readonly Measure[] = [
  {
    ...{ title: 'request/response p50, us', mode: 'rr', value: 'p50', scale: 1, better: 'less', family: 'ipv4' },
    targets: [nativeTo(1.1), vxlanTo(1.35)],
  },
  {
    ...{
      title: 'UDP of 64 bytes, kpackets/s',
      mode: 'udp',
      value: 'rate',
      scale: 1e-3,
      better: 'more',
      family: 'ipv4',
    },
    targets: [nativeTo(0.95), vxlanTo(0.6)],
  },
  {
    ...{ title: 'TCP stream, Gbit/s', mode: 'stream', value: 'gbps', scale: 1, better: 'more', family: 'ipv4' },
    targets: [vxlanTo(0.83)],
  },
  {
    ...{ title: 'request/response p50 over IPv6, us', mode: 'rr', value: 'p50', scale: 1, better: 'less' },
    family: 'ipv6',
    targets: [],
  },
];

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '12' },
    seconds: { type: 'string', default: '0.4' },
    patience: { type: 'string', default: '120' },
    json: { type: 'string' },
  },
});
const rounds = positive('--rounds', flags.rounds);
const seconds = positive('--seconds', flags.seconds);
const quiet = new QuietMachine(positive('--patience', flags.patience) * 1000);
const bbnet = join(import.meta.dirname, 'build/bbnet');
const PORT = 9_000;
const TURNS = 10;

const paths: NodesPath[] = [];
const ending = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort(new Error(signal)));
try {
  execFileSync('make', ['--silent', '-C', import.meta.dirname], { stdio: ['ignore', 'ignore', 'inherit'] });
  // One by one: what the first ones set up is taken down when a later one fails.
  const makers = [
    plainRouting,
    kernelVxlan,
    () => axoneme(NATIVE, []),
    () => axoneme(VXLAN, ['--routing', 'vxlan']),
  ] as const;
  for (const make of makers) paths.push(await make());
  for (const path of paths) awaitReachable(path);
  const results = await measureAll();
  const missed = report(results);
  if (flags.json !== undefined) writeFileSync(flags.json, `${JSON.stringify(results, undefined, 1)}\n`);
  process.exitCode = missed > 0 ? 1 : 0;
} finally {
  for (const path of paths.splice(0)) await path.close();
}

/** Link-local addresses are probed for duplicates for a second or two, and neighbours asked for. */
function awaitReachable({ client, server }: NodesPath): void {
  for (const address of [server.ipv4, server.ipv6])
    execFileSync('nsenter', [`--net=${client}`, 'ping', '-q', '-c', '1', '-w', '20', address], { stdio: 'ignore' });
}

/** Values of all rounds, by measure and path. */
type Results = Record<string, Record<string, number[]>>;

async function measureAll(): Promise<Results> {
  const results: Results = {};
  for (let round = 0; round < rounds; round++) {
    for (const measure of measures) {
      const order = round % 2 === 0 ? paths : paths.toReversed();
      for (const path of [...order.slice(round % 4), ...order.slice(0, round % 4)]) {
        ending.signal.throwIfAborted();
        await quiet.wait();
        const ofMeasure = results[measure.title] ?? {};
        ofMeasure[path.name] = [...(ofMeasure[path.name] ?? []), await patiently(path, measure)];
        results[measure.title] = ofMeasure;
      }
    }
  }
  return results;
}

/** On a machine that others use both processors of, a turn may end without a single sample: it is taken again. */
async function patiently(path: NodesPath, measure: Measure): Promise<number> {
  for (let turn = 1; ; turn++) {
    try {
      return await run(path, measure);
    } catch (error) {
      if (turn === TURNS) throw error;
      quiet.disturbed = true;
    }
  }
}

async function run(path: NodesPath, { mode, family, value, scale }: Measure): Promise<number> {
  const server: ChildProcessByStdio<Writable, Readable, null> = spawn(
    bbnet,
    ['server', path.server.netns, '1', String(PORT)],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  try {
    const ended = once(server, 'exit').then(() => Promise.reject(new Error('bbnet server ended')));
    ended.catch(() => {});
    await Promise.race([once(server.stdout, 'data'), ended]);
    const address = family === 'ipv4' ? `::ffff:${path.server.ipv4}` : path.server.ipv6;
    const client = spawn(bbnet, ['client', path.client, '0', address, String(PORT), mode, String(seconds)], {
      stdio: ['ignore', 'pipe', 'ignore'],
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
  } finally {
    const gone = once(server, 'exit');
    server.stdin.end();
    await gone;
  }
}

/** Prints the table; how many targets were missed. */
function report(results: Results): number {
  let missed = 0;
  console.log(`pod to pod between two nodes, ${rounds} rounds: best (range), median`);
  for (const { title, better, targets } of measures) {
    const ofPaths = results[title] ?? {};
    const best = (name: string): number => Math[better === 'more' ? 'max' : 'min'](...(ofPaths[name] ?? [Number.NaN]));
    console.log(`${title}, ${better} is better`);
    for (const name of [PLAIN, NATIVE, KERNEL_VXLAN, VXLAN]) {
      const values = ofPaths[name] ?? [];
      const range = `(${Math.min(...values).toFixed(1)}–${Math.max(...values).toFixed(1)})`;
      console.log(
        `  ${name.padEnd(16)} ${best(name).toFixed(1).padStart(8)} ${range.padEnd(18)} ${median(values).toFixed(1)}`,
      );
    }
    for (const { of, against, bound } of [...targets, { of: VXLAN, against: KERNEL_VXLAN, bound: undefined }]) {
      const ratio = best(of) / best(against);
      const ofMedians = median(ofPaths[of] ?? []) / median(ofPaths[against] ?? []);
      const isMet = bound === undefined || (better === 'more' ? ratio >= bound : ratio <= bound);
      if (!isMet) missed++;
      const judgement =
        bound === undefined
          ? ''
          : `  target ${better === 'more' ? '≥' : '≤'} ${bound.toFixed(2)}: ${isMet ? 'met' : 'MISSED'}`;
      console.log(`  ${of} / ${against}: ${ratio.toFixed(2)} (medians ${ofMedians.toFixed(2)})${judgement}`);
    }
  }
  if (quiet.disturbed) console.log('Others used the processors meanwhile: these figures are not to be trusted.');
  return missed;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

function positive(flag: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`${flag} wants a positive number, not '${text}'`);
  return value;
}
