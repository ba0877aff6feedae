/** Routes that move a served replay in time; their shape is told in `observe/web/REPLAY-API.md`. */
import { json, Refusal, type Route } from '../../observe/debug/http.ts';
import { MovingInspector } from './moving-inspector.ts';
import type { Seat, Timeline } from './timeline.ts';

const LISTED_USUAL = 100;
const LISTED_MAX = 1_000;

/** A timeline, and the moment of it that is looked at. */
export class Viewer {
  readonly timeline: Timeline;
  readonly inspector: MovingInspector;
  seat: Seat;
  #moving: Promise<unknown> = Promise.resolve();

  private constructor(timeline: Timeline, seat: Seat) {
    this.timeline = timeline;
    this.seat = seat;
    this.inspector = new MovingInspector(seat.engine);
  }

  static async at(timeline: Timeline, index: number): Promise<Viewer> {
    return new Viewer(timeline, await timeline.seek(index));
  }

  /** One move after the other. */
  move(target: { index: number } | { time: number }): Promise<Seat> {
    const moved = this.#moving.then(async () => {
      this.inspector.moved$.next();
      const watcher = {
        onRun: (_run: number, _header: unknown, engine: Seat['engine']): void => this.inspector.follow(engine),
        onMoment: (): undefined => undefined,
      };
      const seat =
        'index' in target
          ? await this.timeline.seek(target.index, [watcher])
          : await this.timeline.seekTime(target.time, [watcher]);
      this.seat = seat;
      this.inspector.settle(seat.engine);
      return seat;
    });
    this.#moving = moved.catch(() => {});
    return moved;
  }
}

const positionOf = ({ index, run, seq, at, account, full }: Seat): object => ({
  ...{ index, run, seq, at },
  event: account ? { ...account.event, full } : null,
  transitions: account?.transitions ?? [],
  ops: account?.ops ?? [],
});

export function replayRoutes(viewer: Viewer): Route[] {
  const { timeline } = viewer;
  return [
    {
      pattern: '/v1/replay',
      doc: 'the recording that is served, and the moment of it that all other paths show',
      answer() {
        const { header } = viewer.seat;
        const { runs, events, marks, torn, divergences } = timeline;
        return json({
          ...{ node: header.node, build: header.build, kernel: header.kernel, runs, events },
          ...{ position: positionOf(viewer.seat), histogram: timeline.histogram(), marks, torn, divergences },
        });
      },
    },
    {
      pattern: '/at',
      doc: 'moves: ?index=N, ?seq=N[&run=R] or ?time=T; answers with what happened there',
      answer: async ({ params }) => json(positionOf(await viewer.move(targetOf(params, timeline)))),
    },
    {
      pattern: '/v1/replay/events',
      doc: 'events of the recording; ?from=INDEX&limit=N',
      async answer({ params }) {
        const from = numberOf(params, 'from', 0, timeline.events) ?? viewer.seat.index;
        const limit = numberOf(params, 'limit', 1, LISTED_MAX) ?? LISTED_USUAL;
        return json({ events: await timeline.list(Math.max(1, from), limit) });
      },
    },
  ];
}

function targetOf(params: URLSearchParams, timeline: Timeline): { index: number } | { time: number } {
  const index = numberOf(params, 'index', 0, timeline.events);
  if (index !== undefined) return { index };
  const seq = numberOf(params, 'seq', 0, Number.MAX_SAFE_INTEGER);
  if (seq !== undefined) {
    const run = numberOf(params, 'run', 1, timeline.runs.length) ?? timeline.runs.length;
    const found = timeline.indexOf(run, seq);
    if (found === undefined) {
      const last = timeline.runs.find((one) => one.run === run)?.last ?? 0;
      throw new Refusal(400, `run ${run} has no event #${seq}`, `0 to ${last}`);
    }
    return { index: found };
  }
  const text = params.get('time');
  if (text === null) throw new Refusal(400, 'no moment is named', '?index=N, ?seq=N[&run=R] or ?time=T');
  const time = /^\d+$/.test(text) ? Number(text) : Date.parse(text);
  if (Number.isNaN(time))
    throw new Refusal(400, `parameter time is ${JSON.stringify(text)}`, 'milliseconds since the epoch, or ISO 8601');
  return { time };
}

function numberOf(params: URLSearchParams, name: string, min: number, max: number): number | undefined {
  const text = params.get(name);
  if (text === null) return undefined;
  const number = Number(text);
  if (!/^\d+$/.test(text) || number < min || number > max)
    throw new Refusal(400, `parameter ${name} is ${JSON.stringify(text)}`, `a whole number from ${min} to ${max}`);
  return number;
}
