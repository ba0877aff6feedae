/**
 * A history that one can move about in: an overview of all of it, and the engine as it was at any moment.
 *
 * - `index` counts events of all runs: 0 is before everything.
 * - A recording is entered at the nearest checkpoint; other histories are played from their start each time.
 */
import type { RecordingHeader } from '../../cluster/recording-format.ts';
import { type ReadingPlace, readBatches } from '../../cluster/recording-reader.ts';
import type { Engine } from '../../reconcilers/engine.ts';
import type { SimulatedKernel } from '../kernel.ts';
import { type Account, accountOf, briefOf, type EventBrief, subjectOf, TransitionLog } from './account.ts';
import type { Checkpoints } from './checkpoints.ts';
import { playIndexed } from './indexed.ts';
import type { Moment, Watcher } from './moment.ts';
import { play, type Source } from './source.ts';

export interface RunSpan {
  run: number;
  startedAt: number;
  /** Numbers of its first and last event; 0: it has none. */
  first: number;
  last: number;
  fromMs: number;
  toMs: number;
  /** Events before it. */
  index: number;
}

export interface Mark {
  index: number;
  run: number;
  seq: number;
  at: number;
  kind: 'start' | 'failure' | 'drift';
  text: string;
}

export interface Histogram {
  fromMs: number;
  toMs: number;
  counts: number[];
}

/** The moment that one is at. */
export interface Seat {
  index: number;
  run: number;
  seq: number;
  at: number;
  header: RecordingHeader;
  engine: Engine;
  kernel: SimulatedKernel;
  /** Of the event after which it is; undefined: before everything. */
  account: Account | undefined;
  full: unknown;
}

export type Listed = Omit<EventBrief, 'file' | 'line'> & { index: number };

const BUCKETS = 200;
const MARKS_MAX = 500;
const LISTED_KEPT = 200_000;

export class Timeline {
  readonly #source: Source;
  readonly #checkpoints: Checkpoints | undefined;
  readonly runs: RunSpan[] = [];
  readonly marks: Mark[] = [];
  events = 0;
  torn = false;
  divergences = 0;
  /** Events by second. */
  readonly #seconds = new Map<number, number>();
  /** Where reading may begin, and how many events are before. */
  readonly #places: { index: number; run: number; place: ReadingPlace }[] = [];
  /** Of histories that cannot be read from the middle. */
  readonly #listed: Listed[] = [];

  private constructor(source: Source, checkpoints: Checkpoints | undefined) {
    this.#source = source;
    this.#checkpoints = source.isKubectl || source.config ? undefined : checkpoints;
  }

  /** Plays all of it once. */
  static async of(
    source: Source,
    checkpoints: Checkpoints | undefined,
    watchers: readonly Watcher[],
  ): Promise<Timeline> {
    const timeline = new Timeline(source, checkpoints);
    const overview: Watcher = {
      onRun: (run, header) => timeline.#begin(run, header),
      onMoment: (moment) => timeline.#note(moment),
    };
    const all = [overview, ...watchers];
    if (timeline.#checkpoints) {
      const { player } = await playIndexed(source.paths[0] as string, timeline.#checkpoints, undefined, {
        lenient: source.lenient ?? false,
        watchers: all,
        onPlace: (place, index) => timeline.#places.push({ index, run: timeline.runs.length, place }),
      });
      timeline.torn = player.torn;
      timeline.divergences = player.divergenceCount;
    } else {
      const { torn, divergenceCount } = await play(source, all);
      timeline.torn = torn;
      timeline.divergences = divergenceCount;
    }
    return timeline;
  }

  #begin(run: number, { startedAt }: RecordingHeader): void {
    this.runs.push({ run, startedAt, first: 0, last: 0, fromMs: startedAt, toMs: startedAt, index: this.events });
  }

  #note(moment: Moment): undefined {
    const { run, seq, entry } = moment;
    const { at, event } = entry;
    const index = ++this.events;
    const span = this.runs.at(-1);
    if (span) {
      if (span.first === 0) Object.assign(span, { first: seq, fromMs: at });
      Object.assign(span, { last: seq, toMs: at });
    }
    const second = Math.floor(at / 1_000);
    this.#seconds.set(second, (this.#seconds.get(second) ?? 0) + 1);
    if (!this.#checkpoints && this.#listed.length < LISTED_KEPT) {
      const { file: _, line: __, ...brief } = briefOf(moment);
      this.#listed.push({ ...brief, index });
    }
    const mark = (kind: Mark['kind'], text: string): void => {
      if (this.marks.length < MARKS_MAX) this.marks.push({ index, run, seq, at, kind, text });
    };
    if (event.type === 'agent.started') mark('start', 'the agent started');
    if (event.type === 'ops.done')
      for (const { table, key, action, error } of event.results)
        if (error && error.kind !== 'cancelled')
          mark('failure', `${action} ${table} ${key}: ${error.errno} ${error.message}`);
    // The first dumps of a run say what was there; later ones what nobody had planned.
    if (event.type === 'observed' && event.changes.length > 0 && moment.engine.stats().sources.includes('kernel'))
      mark('drift', `a dump of ${event.table} differed in ${event.changes.length} rows`);
  }

  histogram(): Histogram {
    const seconds = [...this.#seconds.keys()];
    const from = seconds.reduce((a, b) => Math.min(a, b), seconds[0] ?? 0);
    const to = seconds.reduce((a, b) => Math.max(a, b), from) + 1;
    const counts = new Array<number>(Math.min(BUCKETS, to - from)).fill(0);
    for (const [second, count] of this.#seconds) {
      const bucket = Math.floor(((second - from) * counts.length) / (to - from));
      counts[bucket] = (counts[bucket] ?? 0) + count;
    }
    return { fromMs: from * 1_000, toMs: to * 1_000, counts };
  }

  /** Undefined: there is no such event. */
  indexOf(run: number, seq: number): number | undefined {
    const span = this.runs.find((one) => one.run === run);
    if (!span || seq < 0 || seq > span.last) return undefined;
    // With holes, as a lenient reader leaves them, it is the nearest one that is meant.
    return span.index + Math.max(0, seq - Math.max(0, span.first - 1));
  }

  /** Watchers hear of the events on the way there. */
  async seek(index: number, watchers: readonly Watcher[] = []): Promise<Seat> {
    return this.#seat({ index }, watchers);
  }

  /** The last event not after that time. */
  async seekTime(time: number, watchers: readonly Watcher[] = []): Promise<Seat> {
    return this.#seat({ time }, watchers);
  }

  async #seat(target: { index: number } | { time: number }, watchers: readonly Watcher[]): Promise<Seat> {
    const transitions = new TransitionLog();
    let last: Moment | undefined;
    let played = 0;
    const limit = 'index' in target ? target.index : Number.POSITIVE_INFINITY;
    let before = 0;
    const watcher: Watcher = {
      before: (_run, _seq, at) =>
        before + played >= limit || ('time' in target && at > target.time) ? 'stop' : undefined,
      onMoment(moment) {
        last = moment;
        played++;
        return undefined;
      },
    };
    const all = [transitions, watcher, ...watchers];
    let world: {
      header: RecordingHeader;
      engine: Engine;
      kernel: SimulatedKernel;
      run: number;
      seq: number;
      at: number;
    };
    if (this.#checkpoints) {
      // One event is always played, so that it can be told what it did.
      const from =
        'index' in target
          ? this.#checkpoints.beforeIndex(target.index - 1)
          : this.#checkpoints.before({ time: target.time - 1 }, 0);
      before = from?.index ?? 0;
      const { player } = await playIndexed(this.#source.paths[0] as string, this.#checkpoints, from, {
        lenient: this.#source.lenient ?? false,
        watchers: all,
      });
      const { header, engine, seq, at } = player.life;
      world = { header, engine, kernel: player.kernel, run: player.run, seq, at };
    } else {
      const { header, engine, kernel, runs, seq, at } = await play(this.#source, all);
      world = { header, engine, kernel, run: runs, seq, at };
    }
    const account = last && accountOf(last, transitions.of(last));
    return { index: before + played, ...world, account, full: last?.entry.event ?? null };
  }

  async list(from: number, limit: number): Promise<Listed[]> {
    if (!this.#checkpoints) return this.#listed.slice(Math.max(0, from - 1), Math.max(0, from - 1) + limit);
    const found: Listed[] = [];
    const start = this.#places.findLast((one) => one.index < from);
    let index = start?.index ?? 0;
    let run = start?.run ?? 0;
    const options = { lenient: this.#source.lenient ?? false, ...(start && { from: start.place }) };
    for await (const { items } of readBatches(this.#source.paths[0] as string, options)) {
      for (const item of items) {
        if (item.kind === 'run') run++;
        if (item.kind !== 'entry' || ++index < from) continue;
        const { seq, at, source, event } = item.entry;
        found.push({ index, run, seq, at, type: event.type, source, subject: subjectOf(event) });
        if (found.length >= limit) return found;
      }
    }
    return found;
  }
}
