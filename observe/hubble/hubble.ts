/** Flows of a node and the Hubble API over them: events of the datapath into the ring, servers in front of it. */
import { concat, defer, EMPTY, NEVER, type Observable, of, Subject } from 'rxjs';
import { EVENT_READ_INTERVAL_MS, type EventBlock, type EventDecoder } from '../../datapath/events.ts';
import { monotonicNs } from '../../native/index.ts';
import { eachFrom } from '../each-from.ts';
import type { TimedAgentEvent } from './agent-events.ts';
import type { FlowContext } from './enrich.ts';
import type { FlowCounts } from './flow-counts.ts';
import { FlowRing } from './flow-ring.ts';
import { EncodedFlows } from './frames.ts';
import { agentEventsFor, flowsFor, framesFor, type GetFlowsRequest } from './observer.ts';
import { serverNameOf } from './peers.ts';
import { Ring, type RingView } from './ring.ts';
import { Servers, type ServersConfig } from './servers.ts';
import type { HubbleSource, PeerChange, ServerStatus } from './source.ts';
import { type Flow, timestampOf } from './types.ts';

export interface HubbleConfig extends ServersConfig {
  /** Flows that are kept. */
  capacity: number;
}

export interface Hubble extends HubbleSource {
  status(): ServerStatus;
  ring: RingView<Flow>;
  /** Each flow as it comes, made for those who listen. */
  flows$: Observable<Flow>;
  /** Flows by kind, for metrics. */
  counts: FlowCounts;
  /** What never became a flow, since the start. */
  lost(): LostCounts;
  close(): Promise<void>;
}

export interface LostCounts {
  /** Events that the programs' ring buffer had no room for. */
  ringBuffer: number;
  /** Records that were none of ours. */
  malformed: number;
  /** Flows that readers were too slow for. */
  overtaken: number;
}

/** Where a node's events come from. */
export interface EventFeed {
  blocks$: Observable<EventBlock>;
  decoder: EventDecoder;
  /** Events that the ring buffer had no room for, by processor, since it was made. */
  eventsLost?(): number[];
}

/** What a node tells of beside its own flows. */
export interface HubbleFeeds {
  agentEvents$: Observable<TimedAgentEvent>;
  /** Other nodes: those that are known, then changes. */
  peers$: Observable<PeerChange>;
  /** Where others reach this node over TCP; the configured address unless given. */
  address?(): string;
}

/** Agent events that are kept. */
const AGENT_EVENTS = 1023;
const HOUR_MS = 3_600_000;

const RATE_WINDOW_MS = 60_000;

export async function startHubble(
  config: HubbleConfig,
  events: EventFeed,
  context: FlowContext,
  feeds: HubbleFeeds = { agentEvents$: EMPTY, peers$: EMPTY },
): Promise<Hubble> {
  const source = collect(config, events, context, feeds);
  const servers = new Servers(config, source);
  await servers.open();
  return {
    ...source,
    close: async () => {
      source.stop();
      await servers.close();
    },
  };
}

function collect(
  { capacity, listen, socket, tlsCert }: HubbleConfig,
  { blocks$, decoder, eventsLost }: EventFeed,
  context: FlowContext,
  { agentEvents$, peers$, address = () => listen }: HubbleFeeds,
): Omit<Hubble, 'close'> & { stop(): void } {
  const ring = new FlowRing(capacity, context, decoder, monotonicNs());
  const agentRing = new Ring<TimedAgentEvent>(AGENT_EVENTS);
  const startedAt = Date.now();
  const flows$ = new Subject<Flow>();
  const subscription = blocks$.subscribe((block) => {
    const first = ring.next;
    ring.add(block);
    if (!flows$.observed) return;
    for (let at = Math.max(first, ring.oldest); at < ring.next; at++) flows$.next(ring.get(at) as Flow);
  });
  const losses = new LossWatch(ring, eventsLost);
  /** By the fields that are asked for; those that nobody reads any more go. */
  const encoded = new Map<string, EncodedFlows>();
  const encodedFor = ({ field_mask }: GetFlowsRequest): EncodedFlows => {
    for (const [fields, { readers }] of encoded) if (readers === 0) encoded.delete(fields);
    const fields = field_mask?.paths?.join() ?? '';
    const known = encoded.get(fields) ?? new EncodedFlows();
    encoded.set(fields, known);
    return known;
  };
  subscription.add(agentEvents$.subscribe((event) => agentRing.push(event)));
  const self = (): PeerChange => ({
    name: context.nodeName,
    address: (listen && address()) || `unix://${socket}`,
    type: 'PEER_ADDED',
    ...(listen && tlsCert && { tls: { server_name: serverNameOf(context.nodeName) } }),
  });
  const flowsRate = (): number => {
    const uptime = Date.now() - startedAt;
    const since = (Date.now() - Math.min(RATE_WINDOW_MS, uptime)) / 1000;
    return uptime > 0 ? ring.countSince(since) / (Math.min(RATE_WINDOW_MS, uptime) / 1000) : 0;
  };
  return {
    ring,
    flows$,
    counts: ring.counts,
    lost: () => ({ ringBuffer: losses.total, malformed: decoder.malformed, overtaken: ring.overtaken }),
    version: context.version,
    versionHeader: 'hubble-server-version',
    flows: (request, signal) => flowsFor(ring, request, context.nodeName, signal),
    flowFrames: (request, signal, encode) =>
      framesFor(ring, request, context.nodeName, signal, encode, encodedFor(request)),
    agentEvents: (request, signal) => agentEventsFor(agentRing, request, context.nodeName, signal),
    status: () => ({
      num_flows: ring.size,
      max_flows: ring.capacity,
      seen_flows: ring.next,
      uptime_ns: (Date.now() - startedAt) * 1_000_000,
      version: `axoneme v${context.version}`,
      flows_rate: flowsRate(),
    }),
    namespaces: () =>
      [...ring.namespaces]
        .filter(([, seconds]) => seconds * 1000 > Date.now() - HOUR_MS)
        .map(([namespace]) => ({ cluster: context.clusterName, namespace }))
        .sort((a, b) => (a.namespace < b.namespace ? -1 : 1)),
    peers: (signal) =>
      eachFrom(
        concat(
          defer(() => of(self())),
          peers$,
          NEVER,
        ),
        signal,
      ),
    stop: () => {
      subscription.unsubscribe();
      losses.stop();
    },
  };
}

/** As often as Hubble tells of what was lost. */
const LOST_EVENT_INTERVAL_MS = 1000;

/** What the programs' ring buffer had no room for came after what it held: it is noted when nothing has been read for so long. */
const SETTLE_MS = 2 * EVENT_READ_INTERVAL_MS;
/** Where there is always something to read. */
const SETTLE_TURNS_MAX = 20;

/** Looks every so often what the programs could not tell, and notes it in the ring where it is missing. */
class LossWatch {
  readonly #ring: FlowRing;
  readonly #eventsLost: () => number[];
  readonly #timer: NodeJS.Timeout;
  #known: readonly number[];
  #lookedAt = BigInt(Date.now());
  readonly #noting = new Set<NodeJS.Timeout>();
  total = 0;

  constructor(ring: FlowRing, eventsLost: () => number[] = () => []) {
    this.#ring = ring;
    this.#eventsLost = eventsLost;
    this.#known = eventsLost();
    this.#timer = setInterval(() => this.look(), LOST_EVENT_INTERVAL_MS);
  }

  look(): void {
    const now = BigInt(Date.now());
    const counts = this.#eventsLost();
    counts.forEach((count, cpu) => {
      const lost = count - (this.#known[cpu] ?? 0);
      if (lost <= 0) return;
      this.total += lost;
      const [first, last] = [this.#lookedAt, now].map((ms) => timestampOf(ms * 1_000_000n));
      const cause = { source: 'PERF_EVENT_RING_BUFFER', num_events_lost: lost, cpu: { value: cpu } } as const;
      const events = { ...cause, ...(first && { first }), ...(last && { last }) };
      let read = this.#ring.next;
      let turns = 0;
      const noting = setInterval(() => {
        const isSettled = this.#ring.next === read || ++turns >= SETTLE_TURNS_MAX;
        read = this.#ring.next;
        if (!isSettled) return;
        clearInterval(noting);
        this.#noting.delete(noting);
        this.#ring.lost(events, timestampOf(BigInt(Date.now()) * 1_000_000n));
      }, SETTLE_MS);
      this.#noting.add(noting);
    });
    this.#known = counts;
    this.#lookedAt = now;
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const noting of this.#noting) clearInterval(noting);
  }
}
