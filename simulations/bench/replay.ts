/**
 * How fast a recording of services and endpoints is replayed from disk, in how much memory, and how soon a moment in its middle is there.
 *
 * - The recording is made first, with the format and the redaction of the agent's; that is not counted.
 * - Rates are of processor time. The baseline is XState's bare `transition()` of a machine with two states and one assignment, measured in
 *   slices between those of the replay, so that both meet the same machine.
 * - `--at` is the command as it is typed, start of the process included: once after a first pass that left checkpoints.
 *
 * node simulations/bench/replay.ts [EVENTS [SERVICES [ENDPOINTS]]]
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assign, initialTransition, setup, transition } from 'xstate';
import { openRecording } from '../../cluster/recording.ts';
import { filesOf } from '../../cluster/recording-files.ts';
import { readBatches } from '../../cluster/recording-reader.ts';
import { Player } from '../replay/player.ts';
import { engineDigest } from '../replay.ts';
import { header, serviceLog } from './service-log.ts';

const [entries = 200_000, services = 1_000, endpoints = 10] = process.argv.slice(2).map(Number);
const ROUNDS = entries > 1_000_000 ? 1 : 3;
const SLICE = 5_000;
const BARE_PER_SLICE = 1_000;
const MEBIBYTE = 1 << 20;
const AXONEME = new URL('../../cli/axoneme', import.meta.url).pathname;

interface Context {
  count: number;
}
const toy = setup({ types: {} as { context: Context } }).createMachine({
  id: 'toy',
  context: { count: 0 },
  initial: 'a',
  states: {
    a: { on: { go: { target: 'b', actions: assign({ count: ({ context }) => context.count + 1 }) } } },
    b: { on: { go: 'a' } },
  },
});

const print = (text: string): void => void process.stdout.write(`${text}\n`);
const rate = (count: number, us: number): string => `${Math.round((count / us) * 1_000_000).toLocaleString('en')}/s`;
function processorUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

let [snapshot] = initialTransition(toy);
function bare(count: number): number {
  const before = processorUs();
  for (let i = 0; i < count; i++) [snapshot] = transition(toy, snapshot, { type: 'go' });
  return processorUs() - before;
}

interface Round {
  us: number;
  bareUs: number;
  bareCount: number;
  digest: string;
  peakRss: number;
}

async function replayed(directory: string): Promise<Round> {
  const player = new Player();
  const round: Round = { us: 0, bareUs: 0, bareCount: 0, digest: '', peakRss: 0 };
  let count = 0;
  let next = SLICE;
  let before = processorUs();
  for await (const { items } of readBatches(directory)) {
    for (const item of items) player.take(item);
    count += items.length;
    if (count < next) continue;
    next += SLICE;
    round.us += processorUs() - before;
    round.bareUs += bare(BARE_PER_SLICE);
    round.bareCount += BARE_PER_SLICE;
    round.peakRss = Math.max(round.peakRss, process.memoryUsage.rss());
    before = processorUs();
  }
  round.us += processorUs() - before;
  const [divergence] = player.divergences;
  if (divergence) throw new Error(`#${divergence.seq}: ${divergence.message}`);
  round.digest = engineDigest(player.life.engine).total;
  return round;
}

function command(...args: string[]): { ms: number; output: string } {
  const before = performance.now();
  const { status, stdout, stderr } = spawnSync(AXONEME, ['replay', ...args], { encoding: 'utf8', maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(`replay ${args.join(' ')}: ${stderr}`);
  return { ms: performance.now() - before, output: stdout };
}

const directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-bench-replay-`));
try {
  const recording = openRecording(directory, header, {
    startedAt: header.startedAt,
    totalBytesMax: Number.MAX_SAFE_INTEGER,
  });
  let events = 0;
  for (const entry of serviceLog({ entries, services, endpoints })) {
    recording.write(entry);
    events++;
  }
  recording.close();
  const bytes = filesOf(directory).reduce((sum, file) => sum + statSync(file).size, 0);
  print(
    `${events} events, ${services} services with ${endpoints} endpoints each, ${Math.round(bytes / MEBIBYTE)} MiB on disk`,
  );
  bare(50_000);
  const rounds: Round[] = [];
  for (let i = 0; i < ROUNDS; i++) rounds.push(await replayed(directory));
  const best = rounds.reduce((a, b) => (b.us < a.us ? b : a));
  if (new Set(rounds.map(({ digest }) => digest)).size > 1) throw new Error('the rounds end in different digests');
  const ratio = events / best.us / (best.bareCount / best.bareUs);
  print(`replay from disk        ${rate(events, best.us)} of processor time (target 50,000/s)`);
  print(
    `XState's transition()   ${rate(best.bareCount, best.bareUs)} in between: an event costs ${(1 / ratio).toFixed(2)} of them`,
  );
  print(`XState's transition()   ${rate(200_000, bare(200_000))} alone`);
  print(
    `memory                  ${Math.round(Math.max(...rounds.map(({ peakRss }) => peakRss)) / MEBIBYTE)} MiB RSS at most (target 2,048)`,
  );
  const middle = String(events >> 1);
  const first = command(directory, '--at', String(events - 1), '--digest');
  const second = command(directory, '--at', middle, '--digest');
  const plain = command(directory, '--at', middle, '--digest', '--cache', '');
  if (plain.output !== second.output) throw new Error('from a checkpoint the digest is another');
  print(`first pass, checkpoints ${(first.ms / 1_000).toFixed(1)} s`);
  print(
    `--at the middle         ${(second.ms / 1_000).toFixed(2)} s with checkpoints (target 2), ${(plain.ms / 1_000).toFixed(1)} s without`,
  );
} finally {
  rmSync(directory, { recursive: true, force: true });
}
