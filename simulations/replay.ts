/**
 * Runs a recorded log through the engine, against the simulated kernel.
 *
 * - The log decides: an op is carried out when the log reports it done, and the world changes when the log observed that it did.
 * - What this build does differently from the one that recorded is a divergence, never an error: the replay goes on.
 * - The digest is of the rows that the engine takes for actual, as the live agent reports it at the same point of its log.
 */
import type { LogEntry, OpDone } from '../cluster/events.ts';
import type { RecordingHeader } from '../cluster/recording-format.ts';
import type { RecordingItem } from '../cluster/recording-reader.ts';
import type { Op } from '../datapath/driver.ts';
import { kinds } from '../machines/kinds.ts';
import { Engine } from '../reconcilers/engine.ts';
import { type Digest, digestOf } from '../state/digest.ts';
import { canonical } from '../state/tables.ts';
import { isKernelTable, SimulatedKernel } from './kernel.ts';

export interface Divergence {
  seq: number;
  message: string;
}

export interface PlannedOp {
  seq: number;
  at: number;
  op: Op;
}

export interface ReplayOptions {
  /** Stop after the entry of this number … */
  until?: number;
  /** … of the run that began then; what came before it is run to its end. Without it every run is stopped there. */
  untilOfRun?: number;
  onOp?: (planned: PlannedOp) => void;
}

export interface Replayed {
  header: RecordingHeader;
  runs: number;
  entries: number;
  ops: number;
  /** Number of the last entry. */
  seq: number;
  torn: boolean;
  divergences: Divergence[];
  digest: Digest;
  engine: Engine;
  kernel: SimulatedKernel;
}

/** Nothing is kept: a log tells of everything that was there at its start. */
const noStore = { rows: () => [], write: () => {} };

export const engineDigest = (engine: Engine): Digest => digestOf((table) => engine.actual(table));

export async function replay(items: AsyncIterable<RecordingItem>, options: ReplayOptions = {}): Promise<Replayed> {
  let run: Run | undefined;
  let runs = 0;
  let torn = false;
  const kernel = new SimulatedKernel({ anyNamespace: true });
  for await (const item of items) {
    if (item.kind === 'run') {
      run = new Run(item.header, kernel, options);
      runs++;
      torn = false;
    } else if (item.kind === 'torn') torn = true;
    else if (run && !isBeyond(item.entry, run.header, options)) run.take(item.entry);
  }
  if (!run) throw new Error('the recording has no run in it');
  return { header: run.header, runs, torn, ...run.result() };
}

function isBeyond({ seq }: LogEntry, { startedAt }: RecordingHeader, { until, untilOfRun }: ReplayOptions): boolean {
  return until !== undefined && seq > until && (untilOfRun === undefined || untilOfRun === startedAt);
}

/** One life of the agent. */
class Run {
  readonly header: RecordingHeader;
  readonly #kernel: SimulatedKernel;
  readonly #engine = new Engine(kinds, noStore);
  readonly #outstanding = new Map<string, Op>();
  readonly #divergences: Divergence[] = [];
  readonly #onOp: ReplayOptions['onOp'];
  #entries = 0;
  #ops = 0;
  #seq = 0;

  constructor(header: RecordingHeader, kernel: SimulatedKernel, { onOp }: ReplayOptions) {
    this.header = header;
    this.#kernel = kernel;
    this.#onOp = onOp;
  }

  take(entry: LogEntry): void {
    this.#entries++;
    this.#seq = entry.seq;
    this.#happen(entry);
    for (const { ops } of this.#engine.step(entry)) {
      for (const op of ops) {
        this.#ops++;
        this.#outstanding.set(nameOf(op), op);
        this.#onOp?.({ seq: entry.seq, at: entry.at, op });
      }
    }
  }

  /** What the event says of the world becomes true in the simulated kernel. */
  #happen({ event }: LogEntry): void {
    if (event.type === 'ops.done') for (const result of event.results) this.#done(result);
    else if (event.type === 'link.upserted') this.#kernel.addLink(event.link.name);
    else if (event.type === 'link.deleted') this.#kernel.removeLink(event.name);
    else if (event.type === 'observed' && isKernelTable(event.table)) {
      for (const { key, value } of event.changes) this.#kernel.observe(event.table, key, value ?? undefined);
    }
  }

  #done(result: OpDone): void {
    const op = this.#outstanding.get(nameOf(result));
    if (!op || op.action !== result.action || op.revision !== result.revision) {
      const { action, table, key } = result;
      this.#diverge(`the recording reports ${action} ${table} ${key}, which this build did not plan`);
      return;
    }
    this.#outstanding.delete(nameOf(result));
    if (result.error || !isKernelTable(op.table)) return;
    const [refused] = this.#kernel.apply([op]);
    if (refused)
      this.#diverge(`the real kernel did ${op.action} ${op.table} ${op.key}, the simulated one says ${refused.errno}`);
  }

  #diverge(message: string): void {
    this.#divergences.push({ seq: this.#seq, message });
  }

  result(): Omit<Replayed, 'header' | 'runs' | 'torn'> {
    return {
      entries: this.#entries,
      ops: this.#ops,
      seq: this.#seq,
      divergences: this.#divergences,
      digest: engineDigest(this.#engine),
      engine: this.#engine,
      kernel: this.#kernel,
    };
  }
}

const nameOf = ({ table, key }: { table: string; key: string }): string => `${table} ${key}`;

/** Rows in which the kernel differs from what the engine takes for actual; none when no op is under way. */
export function differences(engine: Engine, kernel: SimulatedKernel): string[] {
  const there = new Map([...kernel.rows()].map(({ table, key, value }) => [`${table} ${key}`, canonical(value)]));
  const different: string[] = [];
  for (const table of kernel.tables) {
    for (const [key, value] of engine.actual(table)) {
      const name = `${table} ${key}`;
      const real = there.get(name);
      there.delete(name);
      if (real === undefined) different.push(`${name}: missing in the kernel`);
      else if (real !== canonical(value))
        different.push(`${name}: kernel has ${real}, engine believes ${canonical(value)}`);
    }
  }
  return [...different, ...[...there.keys()].map((name) => `${name}: in the kernel, unknown to the engine`)];
}
