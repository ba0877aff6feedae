/**
 * Flows of a node and the Hubble API over them: events of the datapath into the ring, a unix socket (and a TCP port if asked for)
 * in front of it.
 *
 * - The unix socket is root's alone. The TCP port has TLS when certificates are given, and asks clients for theirs when it has a CA.
 */
import { readFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { concat, EMPTY, NEVER, type Observable, of, Subject } from 'rxjs';
import type { DatapathEvent } from '../../datapath/events.ts';
import { eachFrom } from '../each-from.ts';
import { listening, listenOnSocket } from '../listening.ts';
import type { TimedAgentEvent } from './agent-events.ts';
import { agentEventsFor, flowsFor } from './observer.ts';
import { Ring } from './ring.ts';
import type { HubbleSource, PeerChange, ServerStatus } from './source.ts';
import { type FlowContext, toFlow } from './to-flow.ts';
import type { Flow } from './types.ts';

export interface HubbleConfig {
  /** Path; its directory exists. */
  socket: string;
  /** `host:port`, or empty: no TCP. */
  listen: string;
  /** Paths of PEM files; empty: no TLS. */
  tlsCert: string;
  tlsKey: string;
  /** Clients must have a certificate of this CA. */
  tlsClientCa: string;
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
  { capacity, listen, socket }: HubbleConfig,
  events$: Observable<DatapathEvent>,
  context: FlowContext,
  { agentEvents$, peers$ }: HubbleFeeds,
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
  const self: PeerChange = { name: context.nodeName, address: listen || `unix://${socket}`, type: 'PEER_ADDED' };
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
    peers: (signal) => eachFrom(concat(of(self), peers$, NEVER), signal),
    stop: () => subscription.unsubscribe(),
  };
}

/** Listening sockets, and the gRPC server behind them from the first client on. */
class Servers {
  readonly #config: HubbleConfig;
  readonly #source: HubbleSource;
  readonly #listening: Server[] = [];
  readonly #sockets = new Set<Socket>();
  #grpc: Promise<{ plain(socket: Socket): void; secure(socket: Socket): void; end(): void }> | undefined;

  constructor(config: HubbleConfig, source: HubbleSource) {
    this.#config = config;
    this.#source = source;
  }

  async open(): Promise<void> {
    const { socket, listen } = this.#config;
    try {
      this.#listening.push(await listenOnSocket(this.#server('plain'), socket));
      if (!listen) return;
      const colon = listen.lastIndexOf(':');
      const host = listen.slice(0, colon).replace(/^\[|\]$/g, '') || '::';
      const server = this.#server(this.#config.tlsCert ? 'secure' : 'plain');
      this.#listening.push(await listening(server, { host, port: Number(listen.slice(colon + 1)) }));
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    for (const server of this.#listening) server.close();
    const grpc = await this.#grpc?.catch(() => undefined);
    grpc?.end();
    for (const socket of this.#sockets) socket.destroy();
  }

  #server(kind: 'plain' | 'secure'): Server {
    return createServer((socket) => this.#accept(socket, kind));
  }

  #accept(socket: Socket, kind: 'plain' | 'secure'): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    // A client that goes away in the middle is no error of ours.
    socket.on('error', () => socket.destroy());
    this.#grpc ??= this.#load();
    this.#grpc.then(
      (grpc) => grpc[kind](socket),
      () => socket.destroy(),
    );
  }

  async #load() {
    const [{ ServerCredentials }, { hubbleServer }] = await Promise.all([
      import('@grpc/grpc-js'),
      import('./service.ts'),
    ]);
    const server = hubbleServer(this.#source);
    const plain = server.createConnectionInjector(ServerCredentials.createInsecure());
    const { tlsCert, tlsKey, tlsClientCa } = this.#config;
    const credentials = (): ReturnType<typeof ServerCredentials.createSsl> =>
      ServerCredentials.createSsl(
        tlsClientCa ? readFileSync(tlsClientCa) : null,
        [{ cert_chain: readFileSync(tlsCert), private_key: readFileSync(tlsKey) }],
        tlsClientCa !== '',
      );
    const secure = tlsCert ? server.createConnectionInjector(credentials()) : undefined;
    return {
      plain: (socket: Socket) => plain.injectConnection(socket),
      secure: (socket: Socket) => secure?.injectConnection(socket),
      end: () => {
        plain.destroy();
        secure?.destroy();
        server.forceShutdown();
      },
    };
  }
}
