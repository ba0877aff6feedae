/**
 * Answers of `observer.Observer` from the rings of one node: what they hold, and what comes.
 *
 * - A slow client holds back only itself: it is read for when it has room, and hears what it missed as lost events.
 * - A client that vanishes is forgotten at once.
 */
import { setImmediate as othersTurn } from 'node:timers/promises';
import type { ServerWritableStream } from '@grpc/grpc-js';
import type { AgentEvent } from './agent-events.ts';
import { masked } from './field-mask.ts';
import { compileFilters, type FlowFilter, within } from './filter.ts';
import { type EncodedFlows, Frames } from './frames.ts';
import type { Loss, RingView } from './ring.ts';
import { type Flow, type LostEvents, type Timestamp, timestampOf } from './types.ts';

/** What to read of a ring. */
export interface ReadRequest {
  number?: number;
  first?: boolean;
  follow?: boolean;
  since?: Timestamp | null;
  until?: Timestamp | null;
}

export interface GetFlowsRequest extends ReadRequest {
  whitelist?: FlowFilter[];
  blacklist?: FlowFilter[];
  field_mask?: { paths?: string[] } | null;
}

export interface GetFlowsResponse {
  flow?: Partial<Flow>;
  lost_events?: LostEvents;
  node_status?: NodeStatus;
  node_name: string;
  time: Timestamp;
}

/** `relay.NodeStatusEvent`. */
export interface NodeStatus {
  state_change: 'NODE_CONNECTED' | 'NODE_UNAVAILABLE' | 'NODE_GONE' | 'NODE_ERROR';
  node_names: string[];
  message: string;
}

export interface GetAgentEventsResponse {
  agent_event: AgentEvent;
  node_name: string;
  time: Timestamp;
}

/** The request makes no sense; answered with INVALID_ARGUMENT. */
export class RequestError extends Error {}

const LOST_EVENT_INTERVAL_MS = 1000;
/** Items that are looked at before others get a turn, and how long, as each may be looked at for long: a filter is the client's. */
const TURN = 512;
const TURN_MS = 5;
/** Items between two looks at the clock. */
const CLOCK = 8;

/** Of a field mask: more than a flow has. */
const PATHS_MAX = 256;

type Timed = { time: Timestamp };
type Wanted<T> = (item: T) => boolean;

/** Answers to one request, in order; ends when there is nothing more to come, or the signal says so. */
export async function* flowsFor(
  ring: RingView<Flow>,
  request: GetFlowsRequest,
  nodeName: string,
  signal: AbortSignal,
): AsyncGenerator<GetFlowsResponse> {
  const answer = answering(request, nodeName);
  for await (const found of read(ring, request, compileFilters(request.whitelist, request.blacklist), signal))
    for (const one of found) yield answer(one);
}

/** Bytes of one write to a client: what waits for a slow one is no more than that. */
const WRITE_BYTES = 128 << 10;

/** The same as bytes, many answers at once. `kept` has those of flows that other readers have asked for with the same fields. */
export async function* framesFor(
  ring: RingView<Flow>,
  request: GetFlowsRequest,
  nodeName: string,
  signal: AbortSignal,
  encode: (answer: GetFlowsResponse) => Buffer,
  kept: EncodedFlows,
): AsyncGenerator<Frames> {
  const answer = answering(request, nodeName);
  const matches = compileFilters(request.whitelist, request.blacklist);
  kept.readers++;
  try {
    for await (const found of read(ring, request, matches, signal)) {
      let messages: Buffer[] = [];
      let size = 0;
      for (const one of found) {
        const message = one.item ? kept.of(one.number, () => encode(answer(one))) : encode(answer(one));
        messages.push(message);
        size += message.length;
        if (size < WRITE_BYTES) continue;
        yield new Frames(messages);
        messages = [];
        size = 0;
      }
      if (messages.length > 0) yield new Frames(messages);
    }
  } finally {
    kept.readers--;
  }
}

function answering(request: GetFlowsRequest, nodeName: string): (found: Found<Flow>) => GetFlowsResponse {
  const paths = request.field_mask?.paths ?? [];
  if (paths.length > PATHS_MAX)
    throw new RequestError(`field_mask names ${paths.length} fields, expected at most ${PATHS_MAX}`);
  return ({ item, loss, lost = 0 }) => {
    if (item) return { flow: masked(item, paths), node_name: nodeName, time: item.time };
    if (loss) return { lost_events: loss.events, node_name: nodeName, time: loss.time };
    const lost_events: LostEvents = { source: 'HUBBLE_RING_BUFFER', num_events_lost: lost };
    return { lost_events, node_name: nodeName, time: timestampOf(BigInt(Date.now()) * 1_000_000n) };
  };
}

export async function* agentEventsFor(
  ring: RingView<AgentEvent & Timed>,
  request: ReadRequest,
  nodeName: string,
  signal: AbortSignal,
): AsyncGenerator<GetAgentEventsResponse> {
  for await (const found of read(ring, request, () => true, signal))
    for (const { item } of found) {
      if (!item) continue;
      const { time, ...agent_event } = item;
      yield { agent_event, node_name: nodeName, time };
    }
}

/** One of them: an item with its number, what never came into the ring, or how many this reader was too slow for. */
interface Found<T> {
  number: number;
  item?: T;
  loss?: Loss;
  lost?: number;
}

/** A turn's worth of what is wanted, and, now and then, how many were missed. */
async function* read<T extends Timed>(
  ring: RingView<T>,
  request: ReadRequest,
  matches: Wanted<T>,
  signal: AbortSignal,
): AsyncGenerator<Found<T>[]> {
  const { first = false, follow = false } = request;
  if (first && follow) throw new RequestError('first and follow exclude each other');
  const inTime = within(request.since ?? undefined, request.until ?? undefined);
  const wanted: Wanted<T> = (item) => inTime(item) && matches(item);
  const limit = request.number || Number.POSITIVE_INFINITY;
  let count = 0;
  let lostAt = Number.NEGATIVE_INFINITY;
  let lost = 0;
  const { losses } = ring;
  let nextLoss = -1;
  for (let next = await startOf(ring, request, wanted, limit, signal); !signal.aborted; ) {
    // What is missing before the first one is none of this reader's.
    if (nextLoss < 0) nextLoss = losses ? lossAfter(losses, next, follow && !request.number) : 0;
    if (next < ring.oldest) {
      ring.missed?.(ring.oldest - next);
      lost += ring.oldest - next;
      next = ring.oldest;
    }
    const found: Found<T>[] = [];
    if (lost > 0 && Date.now() - lostAt >= LOST_EVENT_INTERVAL_MS) {
      lostAt = Date.now();
      found.push({ number: next, lost });
      lost = 0;
    }
    const end = performance.now() + TURN_MS;
    for (let turn = 0; turn < TURN && next <= ring.next; turn++) {
      if (turn % CLOCK === CLOCK - 1 && performance.now() > end) break;
      if (losses) {
        nextLoss = Math.max(nextLoss, losses.oldest);
        for (let loss = losses.get(nextLoss); loss && loss.at <= next; loss = losses.get(++nextLoss))
          if (inTime(loss)) found.push({ number: next, loss });
      }
      const item = ring.get(next);
      if (!item) break;
      next++;
      if (!wanted(item)) continue;
      found.push({ number: next - 1, item });
      count++;
      if (!follow && count >= limit) break;
    }
    // What was lost after the newest one belongs to it: nothing comes behind that would bring it.
    if (losses && !first && !follow && count >= limit)
      for (let loss = losses.get(nextLoss); loss; loss = losses.get(++nextLoss))
        if (inTime(loss)) found.push({ number: next, loss });
    if (found.length > 0) yield found;
    if (!follow && count >= limit) return;
    if (next < ring.next) {
      await othersTurn();
      continue;
    }
    if (!follow || isOver(request.until)) return;
    await ring.reached(next, signal, nextLoss);
  }
}

const isOver = (until: Timestamp | null | undefined): boolean =>
  until != null && Date.now() > until.seconds * 1000 + 1000;

/** The first loss that a reader hears of who begins with that number: one right before it only if `isNew`, which is told when it comes. */
function lossAfter(losses: RingView<Loss>, number: number, isNew: boolean): number {
  if (isNew) return losses.next;
  let first = losses.next;
  while ((losses.get(first - 1)?.at ?? -1) > number) first--;
  return first;
}

/** The number of the first one to look at. */
async function startOf<T>(
  ring: RingView<T>,
  { first, follow, number, since }: ReadRequest,
  wanted: Wanted<T>,
  limit: number,
  signal: AbortSignal,
): Promise<number> {
  if (first || since) return ring.oldest;
  if (!number) return follow ? ring.next : ring.oldest;
  let found = 0;
  let end = performance.now() + TURN_MS;
  for (let at = ring.next - 1; at >= ring.oldest && !signal.aborted; at--) {
    if (at % CLOCK === 0 && performance.now() > end) {
      await othersTurn();
      end = performance.now() + TURN_MS;
    }
    const item = ring.get(at);
    if (item && wanted(item) && ++found === limit) return at;
  }
  return ring.oldest;
}

/** Writes all answers, at the client's pace. */
export async function stream<Req, Res>(
  call: ServerWritableStream<Req, Res>,
  answers: (signal: AbortSignal) => AsyncIterable<Res>,
): Promise<void> {
  const ending = new AbortController();
  call.once('cancelled', () => ending.abort());
  call.once('close', () => ending.abort());
  for await (const answer of answers(ending.signal)) {
    if (ending.signal.aborted) return;
    await written(call, answer, ending.signal);
  }
  if (!ending.signal.aborted) call.end();
}

/** Waits until the connection has taken a batch, or, of single answers, until there is room again. */
function written<Res>(call: ServerWritableStream<unknown, Res>, answer: Res, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      signal.removeEventListener('abort', done);
      resolve();
    };
    signal.addEventListener('abort', done);
    if (answer instanceof Frames) call.write(answer, done);
    else if (call.write(answer)) done();
    else call.once('drain', done);
  });
}
