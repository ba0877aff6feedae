/**
 * A recording from its start to its end, or to a moment in it, and what has come of it.
 *
 * - The digest is of the rows that the engine takes for actual, as the live agent reports it at the same point of its log.
 */
import type { RecordingHeader } from '../cluster/recording-format.ts';
import type { RecordingItem } from '../cluster/recording-reader.ts';
import type { Engine } from '../reconcilers/engine.ts';
import { type Digest, digestOf } from '../state/digest.ts';
import { canonical } from '../state/tables.ts';
import type { SimulatedKernel } from './kernel.ts';
import type { Divergence, PlannedOp, Watcher } from './replay/moment.ts';
import { type Fault, Player } from './replay/player.ts';

export type { Divergence, PlannedOp } from './replay/moment.ts';

export interface ReplayOptions {
  /** Stop after the entry of this number … */
  until?: number;
  /** … of the run that began then; what came before it is run to its end. Without it every run is stopped there. */
  untilOfRun?: number;
  onOp?: (planned: PlannedOp) => void;
  watchers?: readonly Watcher[];
}

export interface Replayed {
  header: RecordingHeader;
  runs: number;
  entries: number;
  ops: number;
  /** Number of the last entry, and when it came. */
  seq: number;
  at: number;
  torn: boolean;
  divergences: Divergence[];
  divergenceCount: number;
  faults: Fault[];
  faultCount: number;
  digest: Digest;
  engine: Engine;
  kernel: SimulatedKernel;
}

export const engineDigest = (engine: Engine): Digest => digestOf((table) => engine.actual(table));

export async function replay(items: AsyncIterable<RecordingItem>, options: ReplayOptions = {}): Promise<Replayed> {
  const { onOp, watchers = [], until = Number.POSITIVE_INFINITY, untilOfRun } = options;
  const player = new Player(onOp ? [...watchers, opWatcher(onOp)] : watchers);
  for await (const item of items) {
    const isBounded = untilOfRun === undefined || (player.run > 0 && player.life.header.startedAt === untilOfRun);
    if (item.kind === 'entry' && isBounded && item.entry.seq > until) {
      // Nothing is after the last run's end.
      if (untilOfRun !== undefined) break;
      continue;
    }
    if (player.take(item) === 'stop') break;
  }
  return replayed(player);
}

export const opWatcher = (onOp: (planned: PlannedOp) => void): Watcher => ({
  onMoment({ seq, entry: { at }, steps }) {
    for (const { ops } of steps) for (const op of ops) onOp({ seq, at, op });
    return undefined;
  },
});

export function replayed(player: Player): Replayed {
  const { life, run, torn, divergences, divergenceCount, faults, faultCount, kernel } = player;
  const { header, entries, ops, seq, at, engine } = life;
  return {
    ...{ header, runs: run, torn, entries, ops, seq, at, divergences, divergenceCount, faults, faultCount },
    digest: engineDigest(engine),
    engine,
    kernel,
  };
}

/**
 * Rows in which the kernel differs from what the engine takes for actual; none when no op is under way. A sysctl that is given up keeps
 * its value.
 */
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
  const unknown = [...there.keys()].filter((name) => !name.startsWith('sysctls '));
  return [...different, ...unknown.map((name) => `${name}: in the kernel, unknown to the engine`)];
}
