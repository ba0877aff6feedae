/** A recording whose first files are gone is read from the first that is there, and comes to the rows that the whole one comes to. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { LogEntry } from '../../cluster/events.ts';
import { openRecording } from '../../cluster/recording.ts';
import { partsOf } from '../../cluster/recording-files.ts';
import { readRecording } from '../../cluster/recording-reader.ts';
import { kinds } from '../../machines/kinds.ts';
import { Engine } from '../../reconcilers/engine.ts';
import { isCalm, presentOf } from '../../reconcilers/present.ts';
import { type TableName, tables } from '../../state/tables.ts';
import { actionsFrom } from '../node/actions.ts';
import { facts, World } from '../node/world.ts';
import { differences, type Replayed, replay } from '../replay.ts';
import { noStore } from './player.ts';

const PART_BYTES = 60_000;

/** What a row named that was gone behind the agent's back before the frame: the simulated kernel takes it for there. */
const isSupposed = (difference: string): boolean => difference.endsWith('in the kernel, unknown to the engine');

/** A time of grace that has begun before the frame begins there again, as with an agent's restart: its end is another. */
const GRACE = ['rekey'];

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-frames-`));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** The logs of all lives of an agent, of which the last ends in peace. */
async function lived(seed: number): Promise<LogEntry[][]> {
  const world = new World(seed);
  try {
    await world.start();
    for (const action of actionsFrom(seed, 200)) if (!GRACE.includes(action.do)) await world.act(action);
    await world.settle();
    return world.agents.map(({ log }) => [...log]);
  } finally {
    world.close();
  }
}

function record(log: readonly LogEntry[], startedAt: number): void {
  const engine = new Engine(kinds, noStore);
  const present = {
    entries: () => presentOf(engine),
    isCalm: () => isCalm(engine),
    pending: () => engine.pending(),
  };
  const run = { build: '0', node: facts.nodeName, config: facts, kernel: '6' };
  const recording = openRecording(directory, run, { startedAt, partBytesMax: PART_BYTES, present });
  for (const entry of log) {
    recording.write(entry);
    engine.step(entry);
  }
  recording.close();
}

/** What is said to the API server has the time of its saying in it. */
const kernelDigests = ({ digest }: Replayed): [string, unknown][] =>
  Object.entries(digest.tables).filter(([table]) => tables[table as TableName].lane === 'kernel');

it('any number of its first files may be gone', async () => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    (await lived(seed)).forEach((log, life) => void record(log, 1_000 * seed + life));
    const whole = await replay(readRecording(directory));
    expect(whole.divergences).toEqual([]);
    for (let parts = partsOf(directory); parts.length > 1; parts = partsOf(directory)) {
      rmSync(parts[0] as string);
      const rest = await replay(readRecording(directory));
      expect([seed, parts[1], rest.divergences]).toEqual([seed, parts[1], []]);
      expect([seed, parts[1], kernelDigests(rest)]).toEqual([seed, parts[1], kernelDigests(whole)]);
      expect(differences(rest.engine, rest.kernel).filter((one) => !isSupposed(one))).toEqual([]);
      expect(rest.seq).toBe(whole.seq);
    }
    rmSync(directory, { recursive: true });
  }
}, 60_000);
