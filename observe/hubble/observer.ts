/**
 * Answers of `observer.Observer` from the rings of one node: what they hold, and what comes.
 *
 * - A slow client holds back only itself: it is read for when it has room, and hears what it missed as lost events.
 * - A client that vanishes is forgotten at once.
 */
import type { ServerWritableStream } from '@grpc/grpc-js';
import type { AgentEvent } from './agent-events.ts';
import { masked } from './field-mask.ts';
import { compileFilters, type FlowFilter, within } from './filter.ts';
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
/** Items that are looked at before others get a turn. */
const TURN = 512;

type Timed = { time: Timestamp };
type Wanted<T> = (item: T) => boolean;

/** Answers to one request, in order; ends when there is nothing more to come, or the signal says so. */
export async function* flowsFor(
  ring: RingView<Flow>,
  request: GetFlowsRequest,
  nodeName: string,
  signal: AbortSignal,
): AsyncGenerator<GetFlowsResponse> {
  const matches = compileFilters(request.whitelist, request.blacklist);
  const paths = request.field_mask?.paths ?? [];
  for await (const { item, loss, lost } of read(ring, request, matches, signal)) {
    if (item) yield { flow: masked(item, paths), node_name: nodeName, time: item.time };
    if (loss) yield { lost_events: loss.events, node_name: nodeName, time: loss.time };
    if (lost) {
      const lost_events: LostEvents = { source: 'HUBBLE_RING_BUFFER', num_events_lost: lost };
      yield { lost_events, node_name: nodeName, time: timestampOf(BigInt(Date.now()) * 1_000_000n) };
    }
  }
}

export async function* agentEventsFor(
  ring: RingView<AgentEvent & Timed>,
  request: ReadRequest,
  nodeName: string,
  signal: AbortSignal,
): AsyncGenerator<GetAgentEventsResponse> {
  for await (const { item } of read(ring, request, () => true, signal)) {
    if (!item) continue;
    const { time, ...agent_event } = item;
    yield { agent_event, node_name: nodeName, time };
  }
}

/** Items that are wanted, and, now and then, how many were missed. */
async function* read<T extends Timed>(
  ring: RingView<T>,
  request: ReadRequest,
  matches: Wanted<T>,
  signal: AbortSignal,
): AsyncGenerator<{ item?: T; loss?: Loss; lost?: number }> {
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
  for (let next = startOf(ring, request, wanted, limit); !signal.aborted; ) {
    // What is missing before the first one is none of this reader's.
    if (nextLoss < 0) nextLoss = losses ? lossAfter(losses, next, follow && !request.number) : 0;
    if (next < ring.oldest) {
      ring.missed?.(ring.oldest - next);
      lost += ring.oldest - next;
      next = ring.oldest;
    }
    if (lost > 0 && Date.now() - lostAt >= LOST_EVENT_INTERVAL_MS) {
      lostAt = Date.now();
      yield { lost };
      lost = 0;
    }
    for (let turn = 0; turn < TURN && next <= ring.next; turn++) {
      if (losses) {
        nextLoss = Math.max(nextLoss, losses.oldest);
        for (let loss = losses.get(nextLoss); loss && loss.at <= next; loss = losses.get(++nextLoss))
          if (inTime(loss)) yield { loss };
      }
      const item = ring.get(next);
      if (!item) break;
      next++;
      if (!wanted(item)) continue;
      yield { item };
      count++;
      if (!follow && count >= limit) return;
      if (signal.aborted) return;
    }
    if (next < ring.next) continue;
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
function startOf<T>(
  ring: RingView<T>,
  { first, follow, number, since }: ReadRequest,
  wanted: Wanted<T>,
  limit: number,
): number {
  if (first || since) return ring.oldest;
  if (!number) return follow ? ring.next : ring.oldest;
  let found = 0;
  for (let at = ring.next - 1; at >= ring.oldest; at--) {
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
    if (!call.write(answer)) await drained(call, ending.signal);
  }
  if (!ending.signal.aborted) call.end();
}

function drained(call: { once(event: 'drain', listener: () => void): unknown }, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    call.once('drain', resolve);
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
