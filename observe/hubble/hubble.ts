/** Flows of a node and the Hubble API over them: events of the datapath into the ring, servers in front of it. */
import { concat, defer, EMPTY, NEVER, type Observable, of, Subject } from 'rxjs';
import type { DatapathEvent } from '../../datapath/events.ts';
import { eachFrom } from '../each-from.ts';
import type { TimedAgentEvent } from './agent-events.ts';
import { agentEventsFor, flowsFor } from './observer.ts';
import { serverNameOf } from './peers.ts';
import { Ring } from './ring.ts';
import { Servers, type ServersConfig } from './servers.ts';
import type { HubbleSource, PeerChange, ServerStatus } from './source.ts';
import { type FlowContext, toFlow } from './to-flow.ts';
import type { Flow } from './types.ts';

export interface HubbleConfig extends ServersConfig {
  /** Flows that are kept. */
  capacity: number;
}

export interface Hubble extends HubbleSource {
  status(): ServerStatus;
  ring: Ring<Flow>;
  /** Each flow as it comes. */
  flows$: Observable<Flow>;
  close(): Promise<void>;
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
  events$: Observable<DatapathEvent>,
  context: FlowContext,
  feeds: HubbleFeeds = { agentEvents$: EMPTY, peers$: EMPTY },
): Promise<Hubble> {
  const source = collect(config, events$, context, feeds);
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
  events$: Observable<DatapathEvent>,
  context: FlowContext,
  { agentEvents$, peers$, address = () => listen }: HubbleFeeds,
): Omit<Hubble, 'close'> & { stop(): void } {
  const ring = new Ring<Flow>(capacity);
  const agentRing = new Ring<TimedAgentEvent>(AGENT_EVENTS);
  const startedAt = Date.now();
  const flows$ = new Subject<Flow>();
  const seen = new Map<string, number>();
  const subscription = events$.subscribe((event) => {
    const flow = toFlow(event, context);
    if (!flow) return;
    ring.push(flow);
    flows$.next(flow);
    for (const { namespace } of [flow.source, flow.destination]) if (namespace) seen.set(namespace, flow.time.seconds);
  });
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
    let count = 0;
    for (let at = ring.next - 1; at >= ring.oldest && (ring.get(at)?.time.seconds ?? 0) >= since; at--) count++;
    return uptime > 0 ? count / (Math.min(RATE_WINDOW_MS, uptime) / 1000) : 0;
  };
  return {
    ring,
    flows$,
    version: context.version,
    versionHeader: 'hubble-server-version',
    flows: (request, signal) => flowsFor(ring, request, context.nodeName, signal),
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
      [...seen]
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
    stop: () => subscription.unsubscribe(),
  };
}
