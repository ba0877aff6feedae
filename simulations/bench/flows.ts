/**
 * From the programs' ring buffer to named flows: how many a second on one processor, what is lost, and what memory it takes.
 *
 *   node simulations/bench/flows.ts [SECONDS]
 *
 * - Events are of the real programs, run on packets by a process on the other processor; the reader is the agent's, with the agent's flags.
 * - Baseline of the same run: the same records read and counted, and nothing else. Time is of the processor, not of the wall.
 * - Rate sustained: at RATE events a second none is lost. Flood: the programs make as many as they can; what is read and what is counted
 *   as lost is together what was made, and reading leaves the agent half of its processor.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

const seconds = Number(process.argv[2] ?? 5);
const RATE = 200_000;
const FLOOD_SHARE_MAX = 0.75;
const CPUS = { producer: '1', consumer: '0' };
/** As `cli/axoneme` starts the agent. */
const AGENT_FLAGS = ['--max-semi-space-size=1', '--expose-gc', '--disable-warning=ExperimentalWarning'];
const mebibyte = 1 << 20;

interface Reading {
  records: number;
  lost: number;
  cpuMs: number;
  rss: number;
}

class Part {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;

  constructor(cpu: string, file: string, args: readonly string[], flags: readonly string[] = []) {
    const path = join(import.meta.dirname, 'flows', file);
    this.#child = spawn('taskset', ['-c', cpu, process.execPath, ...flags, path, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#reader = createInterface({ input: this.#child.stdout });
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the process ended before it answered');
    return value;
  }

  ask(): Promise<string> {
    this.#child.stdin.write('\n');
    return this.line();
  }

  begin(): void {
    this.#child.stdin.write('\n');
  }

  async close(): Promise<void> {
    this.#child.stdin.end();
    this.#reader.close();
    if (this.#child.exitCode === null) await new Promise((resolve) => this.#child.once('exit', resolve));
  }
}

/** What a reader of this mode did while events came at this rate. */
async function run(mode: 'raw' | 'flows', rate: number): Promise<Reading & { made: number; rssBefore: number }> {
  const pins = `/sys/fs/bpf/axb-${process.pid}-flows`;
  mkdirSync(pins);
  const producer = new Part(CPUS.producer, 'producer.ts', [pins, String(rate), String(seconds)]);
  await producer.line();
  const consumer = new Part(CPUS.consumer, 'consumer.ts', [pins, mode], AGENT_FLAGS);
  try {
    await consumer.line();
    await sleep(300);
    const { rss } = JSON.parse(await consumer.ask()) as Reading;
    producer.begin();
    const made = Number(await producer.line());
    await sleep(200);
    return { ...(JSON.parse(await consumer.ask()) as Reading), made, rssBefore: rss };
  } finally {
    await consumer.close();
    await producer.close();
  }
}

const FOLLOWERS = 10;
const FOLLOWED_RATE = 20_000;
const LAST_MS = 50;

/** Followers of every flow, and then the last 4095 flows asked for by a gRPC client. */
async function readers(): Promise<void> {
  const pins = `/sys/fs/bpf/axb-${process.pid}-flows`;
  const socket = `/tmp/axb-${process.pid}-hubble.sock`;
  mkdirSync(pins);
  const producer = new Part(CPUS.producer, 'producer.ts', [pins, String(FOLLOWED_RATE), String(seconds)]);
  await producer.line();
  const consumer = new Part(CPUS.consumer, 'consumer.ts', [pins, 'flows', socket], AGENT_FLAGS);
  try {
    await consumer.line();
    const followers = new Part(CPUS.producer, 'reader.ts', [socket, 'follow', String(FOLLOWERS), String(seconds + 3)]);
    await sleep(1500);
    producer.begin();
    const made = Number(await producer.line());
    const { counts } = JSON.parse(await followers.line()) as { counts: { messages: number }[] };
    await followers.close();
    const least = Math.min(...counts.map(({ messages }) => messages));
    console.log(`${FOLLOWERS} followers at ${FOLLOWED_RATE} flows/s each: ${least} of ${made} flows at least`);
    check(least >= made, `${FOLLOWERS} followers at ${FOLLOWED_RATE} flows/s each without loss`);
    const asking = new Part(CPUS.producer, 'reader.ts', [socket, 'last', '25', '0']);
    const { flows: got, best, median } = JSON.parse(await asking.line()) as Record<'flows' | 'best' | 'median', number>;
    await asking.close();
    console.log(
      `last ${got} flows by a gRPC client: ${best.toFixed(1)} ms at best, ${median.toFixed(1)} ms in the median`,
    );
    check(best < LAST_MS, `the last 4095 flows in ${LAST_MS} ms`);
  } finally {
    await consumer.close();
    await producer.close();
    rmSync(socket, { force: true });
  }
}

const failures: string[] = [];
const check = (isMet: boolean, what: string): void => {
  if (!isMet) failures.push(what);
};
const perSecond = ({ records, cpuMs }: Reading): number => records / (cpuMs / 1000);

const raw = await run('raw', RATE);
const flows = await run('flows', RATE);
const grown = (flows.rss - flows.rssBefore) / mebibyte;
console.log(`at ${RATE} events/s for ${seconds} s`);
for (const [name, reading] of [
  ['read and counted', raw],
  ['to named flows', flows],
] as const) {
  const share = reading.cpuMs / 1000 / seconds;
  console.log(
    `  ${name.padEnd(18)} ${reading.records} of ${reading.made} events, ${reading.lost} lost; ${Math.round(perSecond(reading))}/s of a processor (${(100 * share).toFixed(0)} % of it used)`,
  );
}
console.log(`  ratio to the baseline: ${(perSecond(flows) / perSecond(raw)).toFixed(2)}`);
console.log(`  memory: ${(flows.rssBefore / mebibyte).toFixed(0)} MiB before, ${grown.toFixed(1)} MiB more after`);
check(flows.lost === 0 && flows.records >= flows.made, `none lost at ${RATE}/s`);
check(perSecond(flows) >= RATE, `${RATE} flows/s of a processor`);

const flood = await run('flows', 0);
const share = flood.cpuMs / 1000 / seconds;
console.log(
  `flood: ${Math.round(flood.made / seconds)} events/s made, ${Math.round(flood.records / seconds)}/s read, ${Math.round(flood.lost / seconds)}/s counted as lost; ${(100 * share).toFixed(0)} % of the processor used`,
);
check(
  flood.records + flood.lost === flood.made,
  `read and lost (${flood.records + flood.lost}) are what was made (${flood.made})`,
);
check(share <= FLOOD_SHARE_MAX, `at most ${100 * FLOOD_SHARE_MAX} % of the processor in a flood`);

await readers();

for (const failure of failures) console.log(`MISSED: ${failure}`);
if (failures.length > 0) process.exitCode = 1;
