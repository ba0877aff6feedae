/** A recording, replayed, gives the rows and the digest of the agent that wrote it; twice the same. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { LogEntry } from '../cluster/events.ts';
import { openRecording } from '../cluster/recording.ts';
import { lastRunOf, readRecording } from '../cluster/recording-reader.ts';
import { actionsFrom } from './node/actions.ts';
import type { SimulatedAgent } from './node/agent.ts';
import { facts, World } from './node/world.ts';
import { differences, engineDigest, replay } from './replay.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-replay-`));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function record(log: readonly LogEntry[], startedAt: number): void {
  const recording = openRecording(
    directory,
    { build: '0', node: 'n', config: facts, kernel: '6' },
    { startedAt, partBytesMax: 20_000 },
  );
  for (const entry of log) recording.write(entry);
  recording.close();
}

async function lived(seed: number): Promise<{ agents: readonly SimulatedAgent[]; close: () => void }> {
  const world = new World(seed);
  await world.start();
  for (const action of actionsFrom(seed, 60)) await world.act(action);
  await world.settle();
  return { agents: world.agents, close: () => world.close() };
}

it('has the digest of the live engine, whatever happened, over all lives of the agent', async () => {
  for (const seed of [1, 2, 3]) {
    const { agents, close } = await lived(seed);
    const last = agents.at(-1) as SimulatedAgent;
    agents.forEach(({ log }, life) => record(log, 1_000 * seed + life));
    const replayed = await replay(readRecording(directory));
    expect(replayed.divergences).toEqual([]);
    expect(replayed.digest).toEqual(engineDigest(last.engine));
    expect(replayed.digest.total).toMatch(/^[0-9a-f]{64}$/);
    expect(differences(replayed.engine, replayed.kernel)).toEqual([]);
    expect((await replay(readRecording(directory))).digest).toEqual(replayed.digest);
    close();
    rmSync(directory, { recursive: true });
  }
}, 60_000);

it('stops where it is told to, at the digest of that moment', async () => {
  const { agents, close } = await lived(5);
  const [first] = agents as [SimulatedAgent];
  record(first.log, 1);
  const digests = new Set<string>();
  for (const until of [10, 20, 30, first.log.length])
    digests.add((await replay(readRecording(directory), { until })).digest.total);
  expect(digests.size).toBeGreaterThan(2);
  close();
});

it('stops in the last run, and runs those before it to their ends', async () => {
  const { agents, close } = await lived(25); // A history whose earlier run leaves rows for the last.
  expect(agents.length).toBeGreaterThan(1);
  agents.forEach(({ log }, life) => record(log, 1_000 + life));
  const last = agents.at(-1) as SimulatedAgent;
  const untilOfRun = await lastRunOf(directory);
  expect(untilOfRun).toBe(1_000 + agents.length - 1);
  // Where the agent has taken stock, and nothing is under way.
  const until = last.log.find(({ event }) => event.type === 'source.synced' && event.source === 'kernel')?.seq ?? 0;
  const { seq, engine, kernel } = await replay(readRecording(directory), { until, untilOfRun });
  expect(seq).toBe(until);
  expect(differences(engine, kernel)).toEqual([]);
  const cut = await replay(readRecording(directory), { until });
  expect(differences(cut.engine, cut.kernel)).not.toEqual([]);
  close();
});

it('says where this build plans differently from the one that recorded', async () => {
  const { agents, close } = await lived(6);
  const log = structuredClone((agents[0] as SimulatedAgent).log) as LogEntry[];
  const done = log.find(({ event }) => event.type === 'ops.done' && event.results[0]?.table === 'bpf.ipcache');
  if (done?.event.type === 'ops.done' && done.event.results[0]) done.event.results[0].key = '198.51.100.1/32';
  record(log, 1);
  const { divergences } = await replay(readRecording(directory));
  expect(divergences[0]).toEqual({
    run: 1,
    seq: done?.seq,
    message: expect.stringMatching(/bpf.ipcache 198.51.100.1\/32, which this build did not plan/),
  });
  close();
});
