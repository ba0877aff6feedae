/**
 * The Hubble API over all nodes: each request goes to every node, the answers come as one stream in order of time.
 *
 * - Nodes that do not answer are named in the stream, as `node_status`, and hold up nobody.
 * - A follower hears nodes that come later from then on.
 */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientTls } from '../hubble/client.ts';
import { compileFilters } from '../hubble/filter.ts';
import { type GetFlowsRequest, type GetFlowsResponse, type NodeStatus, RequestError } from '../hubble/observer.ts';
import { Servers, type ServersConfig } from '../hubble/servers.ts';
import type { HubbleSource, Namespace, ServerStatus } from '../hubble/source.ts';
import { timestampOf } from '../hubble/types.ts';
import { Merge } from './merge.ts';
import { nodeView, type Peer, type PeerStatus, Peers } from './peers.ts';
import { startRelayMetrics } from './relay-metrics.ts';
import { type RelayPageOptions, startRelayPage } from './relay-page.ts';

export interface RelayOptions extends ServersConfig {
  /** Nodes to begin with, as gRPC names them. */
  peers: readonly string[];
  /** For TCP to nodes. */
  tls: ClientTls;
  version: string;
  /** The web page; absent: none. */
  page?: RelayPageOptions;
  /** `host:port` for Prometheus; empty: none. */
  metrics?: string;
  log(line: string): void;
}

export interface Relay {
  /** Of the page; '': none. */
  url: string;
  close(): Promise<void>;
}

const RESCAN_MS = 2_000;

export async function startRelay(options: RelayOptions): Promise<Relay> {
  const peers = new Peers(options.peers, options.tls, options.log);
  const source = relaySource(peers, options.version, Date.now());
  const servers = new Servers(options, source);
  const others: Server[] = [];
  const close = async (): Promise<void> => {
    peers.close();
    for (const server of others) {
      server.close();
      server.closeAllConnections();
    }
    await servers.close();
  };
  try {
    await servers.open();
    const page = options.page && (await startRelayPage(peers, source.flows, options.page));
    if (page) others.push(page);
    if (options.metrics) others.push(await startRelayMetrics(options.metrics, peers));
    const port = page && (page.address() as AddressInfo).port;
    return { url: port ? `http://127.0.0.1:${port}/` : '', close };
  } catch (error) {
    await close();
    throw error;
  }
}

function relaySource(peers: Peers, version: string, startedAt: number): HubbleSource {
  return {
    version,
    versionHeader: 'hubble-relay-version',
    flows: (request, signal) => flowsOfAll(peers, request, signal),
    status: async () => summed(await peers.statuses(), version, startedAt),
    namespaces: () => namespacesOfAll(peers),
    nodes: async () => (await peers.statuses()).map(nodeView),
  };
}

async function* flowsOfAll(
  peers: Peers,
  request: GetFlowsRequest,
  signal: AbortSignal,
): AsyncGenerator<GetFlowsResponse> {
  const { first = false, follow = false, number = 0 } = request;
  if (first && follow) throw new RequestError('first and follow exclude each other');
  // What a node would refuse is refused here, once.
  compileFilters(request.whitelist, request.blacklist);
  const ending = new AbortController();
  const ended = AbortSignal.any([signal, ending.signal]);
  const merge = new Merge<GetFlowsResponse>();
  const asked = new Set<string>();
  const failed: GetFlowsResponse[] = [];
  const ask = (peer: Peer, what: GetFlowsRequest): void => {
    asked.add(peer.name);
    merge.add(peer.client.flows(what, ended), (error) => {
      asked.delete(peer.name);
      failed.push(said('NODE_ERROR', [peer.name], error instanceof Error ? error.message : String(error)));
    });
  };
  try {
    const known = await peers.statuses();
    const [up, down] = [known.filter(({ status }) => status), known.filter(({ status }) => !status)];
    if (up.length > 0) yield said('NODE_CONNECTED', namesOf(up), '');
    if (down.length > 0) yield said('NODE_UNAVAILABLE', namesOf(down), down.map(({ error }) => error).join('; '));
    for (const { peer } of up) ask(peer, request);
    if (follow) void joinLater(peers, asked, (peer) => ask(peer, { ...request, number: 0 }), ended);
    const items = merge.items(ended, follow);
    yield* follow || number === 0 ? items : first ? firstOf(items, number) : lastOf(items, number);
    yield* failed;
  } finally {
    ending.abort();
  }
}

/** Nodes that come, or come back, while somebody follows. */
async function joinLater(
  peers: Peers,
  asked: ReadonlySet<string>,
  ask: (peer: Peer) => void,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await sleep(RESCAN_MS, undefined, { signal, ref: false }).catch(() => {});
    if (signal.aborted) return;
    for (const peer of peers.list()) if (!asked.has(peer.name)) ask(peer);
  }
}

async function* firstOf(items: AsyncIterable<GetFlowsResponse>, number: number): AsyncGenerator<GetFlowsResponse> {
  let count = 0;
  for await (const item of items) {
    yield item;
    if (item.flow && ++count >= number) return;
  }
}

async function* lastOf(items: AsyncIterable<GetFlowsResponse>, number: number): AsyncGenerator<GetFlowsResponse> {
  const kept: GetFlowsResponse[] = [];
  for await (const item of items) {
    if (!item.flow) yield item;
    else if (kept.push(item) > 2 * number) kept.splice(0, kept.length - number);
  }
  yield* kept.slice(-number);
}

const namesOf = (some: readonly PeerStatus[]): string[] => some.map(({ peer }) => peer.name);

function said(state_change: NodeStatus['state_change'], node_names: string[], message: string): GetFlowsResponse {
  const time = timestampOf(BigInt(Date.now()) * 1_000_000n);
  return { node_status: { state_change, node_names, message }, node_name: '', time };
}

function summed(known: readonly PeerStatus[], version: string, startedAt: number): ServerStatus {
  const up = known.flatMap(({ status }) => (status ? [status] : []));
  const down = known.filter(({ status }) => !status);
  const sum = (field: 'num_flows' | 'max_flows' | 'seen_flows' | 'flows_rate'): number =>
    up.reduce((total, status) => total + status[field], 0);
  return {
    num_flows: sum('num_flows'),
    max_flows: sum('max_flows'),
    seen_flows: sum('seen_flows'),
    flows_rate: sum('flows_rate'),
    uptime_ns: Math.max((Date.now() - startedAt) * 1_000_000, ...up.map(({ uptime_ns }) => uptime_ns)),
    version: `axoneme relay v${version}`,
    num_connected_nodes: { value: up.length },
    num_unavailable_nodes: { value: down.length },
    unavailable_nodes: namesOf(down),
  };
}

async function namespacesOfAll(peers: Peers): Promise<Namespace[]> {
  const answers = await Promise.all(peers.list().map(({ client }) => client.namespaces().catch(() => [])));
  const all = new Map(answers.flat().map((one) => [`${one.cluster}/${one.namespace}`, one]));
  return [...all].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
}
