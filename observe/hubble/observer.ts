/**
 * `observer.Observer` of one node: its flows, as they are and as they come.
 *
 * - A slow client holds back only itself: it is read for when it has room, and hears what it missed as lost events.
 * - A client that vanishes is forgotten at once.
 */
import type { ServerWritableStream } from '@grpc/grpc-js';
import { masked } from './field-mask.ts';
import { compileFilters, type FlowFilter, type Predicate, within } from './filter.ts';
import type { FlowRing } from './flow-ring.ts';
import type { Flow, LostEvents, Timestamp } from './types.ts';

export interface GetFlowsRequest {
  number?: number;
  first?: boolean;
  follow?: boolean;
  whitelist?: FlowFilter[];
  blacklist?: FlowFilter[];
  since?: Timestamp | null;
  until?: Timestamp | null;
  field_mask?: { paths?: string[] } | null;
}

export interface GetFlowsResponse {
  flow?: Partial<Flow>;
  lost_events?: LostEvents;
  node_name: string;
  time: Timestamp;
}

/** The request makes no sense; answered with INVALID_ARGUMENT. */
export class RequestError extends Error {}

const LOST_EVENT_INTERVAL_MS = 1000;
/** Flows that are looked at before others get a turn. */
const TURN = 512;

/** Answers to one request, in order; ends when there is nothing more to come, or the signal says so. */
export async function* flowsFor(
  ring: FlowRing,
  request: GetFlowsRequest,
  nodeName: string,
  signal: AbortSignal,
): AsyncGenerator<GetFlowsResponse> {
  const { first = false, follow = false } = request;
  if (first && follow) throw new RequestError('first and follow exclude each other');
  const matches = compileFilters(request.whitelist, request.blacklist);
  const inTime = within(request.since ?? undefined, request.until ?? undefined);
  const wanted: Predicate = (flow) => inTime(flow) && matches(flow);
  const paths = request.field_mask?.paths ?? [];
  const answer = (flow: Flow): GetFlowsResponse => ({
    flow: masked(flow, paths),
    node_name: nodeName,
    time: flow.time,
  });

  const limit = request.number || Number.POSITIVE_INFINITY;
  const start = startOf(ring, request, wanted, limit);
  let count = 0;
  let lostAt = Number.NEGATIVE_INFINITY;
  let lost = 0;
  for (let next = start; !signal.aborted; ) {
    if (next < ring.oldest) {
      lost += ring.oldest - next;
      next = ring.oldest;
    }
    if (lost > 0 && Date.now() - lostAt >= LOST_EVENT_INTERVAL_MS) {
      lostAt = Date.now();
      yield lostFlows(lost, nodeName);
      lost = 0;
    }
    for (let turn = 0; turn < TURN && next < ring.next; turn++) {
      const flow = ring.get(next);
      if (!flow) break;
      next++;
      if (!wanted(flow)) continue;
      yield answer(flow);
      count++;
      if (!follow && count >= limit) return;
      if (signal.aborted) return;
    }
    if (next < ring.next) continue;
    if (!follow || isOver(request.until)) return;
    await ring.reached(next, signal);
  }
}

const isOver = (until: Timestamp | null | undefined): boolean =>
  until != null && Date.now() > until.seconds * 1000 + 1000;

/** The number of the first flow to look at. */
function startOf(
  ring: FlowRing,
  { first, follow, number, since }: GetFlowsRequest,
  wanted: Predicate,
  limit: number,
): number {
  if (first || since) return ring.oldest;
  if (!number) return follow ? ring.next : ring.oldest;
  let found = 0;
  for (let at = ring.next - 1; at >= ring.oldest; at--) {
    const flow = ring.get(at);
    if (flow && wanted(flow) && ++found === limit) return at;
  }
  return ring.oldest;
}

function lostFlows(number: number, nodeName: string): GetFlowsResponse {
  const ms = Date.now();
  const time = { seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1_000_000 };
  return { lost_events: { source: 'HUBBLE_RING_BUFFER', num_events_lost: number }, node_name: nodeName, time };
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
