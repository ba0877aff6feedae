/**
 * A history to be played, whatever it was recorded with: played from its start, to its end or to a moment.
 *
 * - Recordings are played as they were: their results of ops count. Under another configuration, and from kubectl, the simulated kernel
 *   answers instead.
 */
import type { AgentFacts } from '../../cluster/events.ts';
import { historyOf, isKubectlOutput } from '../../cluster/kubectl-watch.ts';
import { filesOf, headOf, packingOf } from '../../cluster/recording-files.ts';
import type { RecordingHeader } from '../../cluster/recording-format.ts';
import { type RecordingItem, readBatches, runsOf } from '../../cluster/recording-reader.ts';
import { replayObjects } from '../imported.ts';
import { engineDigest, type Replayed, replayed } from '../replay.ts';
import { ClosedLoop } from './closed-loop.ts';
import type { Moment, Position, Watcher } from './moment.ts';
import { Player } from './player.ts';

export interface Source {
  paths: readonly string[];
  isKubectl: boolean;
  /** Of objects from kubectl: whose control plane. */
  node?: string;
  lenient?: boolean;
  /** Facts of the agent that are to be other than recorded. */
  config?: Partial<AgentFacts>;
}

/** The event after which to stop. */
export type Until = { seq: number; run?: number } | { time: number };

const HEAD_BYTES = 4096;
/** How long a label set waits for the identity that the recording may bring. */
const IDENTITY_GRACE_MS = 5_000;

/** Throws for what is neither. */
export function sourceOf(paths: readonly string[]): Source {
  const [first = ''] = paths;
  const [file = first] = filesOf(first);
  const isKubectl = packingOf(file) === 'none' && isKubectlOutput(headOf(file, HEAD_BYTES).toString('utf8'));
  return { paths, isKubectl };
}

export async function play(source: Source, watchers: readonly Watcher[], until?: Until): Promise<Replayed> {
  const stops = until ? [...watchers, await stopper(source, until)] : watchers;
  if (source.isKubectl) {
    const { node = '', config = {} } = source;
    return replayObjects(await historyOf(source.paths, source.lenient), {
      node,
      config,
      version: 'kubectl',
      watchers: stops,
    });
  }
  return source.config ? playAnew(source, source.config, stops) : playAsItWas(source, stops);
}

async function playAsItWas({ paths, lenient = false }: Source, watchers: readonly Watcher[]): Promise<Replayed> {
  const player = new Player(watchers);
  for (const path of paths) {
    for await (const { items } of readBatches(path, { lenient })) {
      for (const item of items) if (player.take(item) === 'stop') return replayed(player);
    }
  }
  return replayed(player);
}

/** What happened outside, to an agent that is configured otherwise. */
async function playAnew(
  { paths, lenient = false }: Source,
  config: Partial<AgentFacts>,
  watchers: readonly Watcher[],
): Promise<Replayed> {
  let loop: ClosedLoop | undefined;
  const faults: Replayed['faults'] = [];
  let faultCount = 0;
  let torn = false;
  const other = (header: RecordingHeader): RecordingHeader => ({ ...header, config: { ...header.config, ...config } });
  const take = (item: RecordingItem): void => {
    if (item.kind === 'torn') torn = true;
    else if (item.kind === 'fault') {
      faultCount++;
      faults.push(item);
    } else if (item.kind === 'run') {
      loop ??= new ClosedLoop(other(item.header), { watchers, identityGraceMs: IDENTITY_GRACE_MS });
      loop.begin(other(item.header), item.header.startedAt, { file: item.file, line: 1 });
    } else {
      const { entry, file, line } = item;
      const { source, event, at } = entry;
      if (event.type === 'ops.done' || event.type === 'observed' || event.type === 'timer.fired') return;
      const changed = event.type === 'agent.started' ? { ...event, config: { ...event.config, ...config } } : event;
      loop?.push(source, changed, at, { file, line });
    }
  };
  for (const path of paths) {
    for await (const { items } of readBatches(path, { lenient })) {
      for (const item of items) if (!loop?.isStopped) take(item);
      if (loop?.isStopped) break;
    }
  }
  if (!loop) throw new Error('the recording has no run in it');
  const { header, run, entries, ops, seq, at, engine, kernel } = loop;
  return {
    ...{ header, runs: run, entries, ops, seq, at, torn, divergences: [], divergenceCount: 0, faults, faultCount },
    ...{ digest: engineDigest(engine), engine, kernel },
  };
}

export async function stopper({ paths, isKubectl }: Source, until: Until): Promise<Watcher> {
  if ('time' in until)
    return { before: (_run, _seq, at) => (at > until.time ? 'stop' : undefined), onMoment: () => undefined };
  const runs = isKubectl ? 1 : (await Promise.all(paths.map(runsOf))).flat().length;
  const run = until.run ?? runs;
  if (run > runs) throw new Error(`there is no run ${run}: the recording has ${runs}`);
  return { onMoment: (moment: Moment) => (isAt(moment, { run, seq: until.seq }) ? 'stop' : undefined) };
}

const isAt = (a: Position, b: Position): boolean => a.run > b.run || (a.run === b.run && a.seq >= b.seq);
