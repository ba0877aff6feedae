/**
 * The page over all nodes that a relay knows: flows and the service map of all of them, or of a chosen one.
 *
 * - Machines and what is inside a node are the agents' own: a relay has none, and the page says where they are.
 */
import { createServer, type Server } from 'node:http';
import { Observable, timer } from 'rxjs';
import { retry } from 'rxjs/operators';
import { json, type Route, serve } from '../debug/http.ts';
import type { HubbleView } from '../debug/sources.ts';
import type { GetFlowsRequest, GetFlowsResponse } from '../hubble/observer.ts';
import type { Flow } from '../hubble/types.ts';
import { listening } from '../listening.ts';
import { type FilterWords, flowRoutes } from '../web/flow-routes.ts';
import { type PageNode, pagesNodes, withPage } from '../web/page.ts';
import type { Peers } from './peers.ts';

type Flows = (request: GetFlowsRequest, signal: AbortSignal) => AsyncIterable<GetFlowsResponse>;

export interface RelayPageOptions {
  /** On loopback; 0: any. */
  port: number;
  words: FilterWords;
}

const LOOPBACK = '127.0.0.1';
/** With which a map begins. */
const PAST = 4_000;
const RETRY_MS = 2_000;

export function startRelayPage(peers: Peers, all: Flows, { port, words }: RelayPageOptions): Promise<Server> {
  const whole: Route[] = [pagesNodes(() => nodesOf(peers)), healthRoute(peers), ...routesOver(all, words)];
  const single = new Map<string, Route[]>();
  const routesOf = (name: string): Route[] | undefined => {
    const known = single.get(name);
    if (known) return known;
    if (!find(peers, name)) return undefined;
    // The client may be another one by then: an address changes.
    const flows: Flows = (request, signal) => find(peers, name)?.client.flows(request, signal) ?? none();
    const made = routesOver(flows, words);
    single.set(name, made);
    return made;
  };
  const listener = withPage((request, response) => {
    const [, name, path] = /^\/nodes\/([^/?]+)(\/v1\b.*)$/.exec(request.url ?? '') ?? [];
    const routes = name === undefined ? whole : (routesOf(decoded(name)) ?? whole);
    if (routes !== whole) request.url = path ?? '';
    void serve(routes, request, response);
  });
  return listening(createServer(listener), { host: LOOPBACK, port });
}

const find = (peers: Peers, name: string) => peers.list().find((peer) => peer.name === name);
async function* none(): AsyncGenerator<GetFlowsResponse> {}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}

async function nodesOf(peers: Peers): Promise<PageNode[]> {
  return (await peers.statuses()).map(({ peer: { name }, status }) => ({
    name,
    base: `/nodes/${encodeURIComponent(name)}`,
    views: ['map', 'flows', 'health'],
    ...(status === undefined && { problem: 'does not answer' }),
  }));
}

/** A node as the relay knows it. */
export interface RelayNodeView {
  name: string;
  address: string;
  version: string;
  uptimeSeconds: number;
  flowsPerSecond: number;
  /** Flows. */
  kept: number;
  capacity: number;
  seen: number;
  /** Why it does not answer; '': it does. */
  problem: string;
}

const healthRoute = (peers: Peers): Route => ({
  pattern: '/v1/relay/nodes',
  doc: 'nodes that the relay asks: whether they answer, and how many flows they have',
  answer: async () =>
    json(
      (await peers.statuses()).map(
        ({ peer: { name, address }, status, error }): RelayNodeView => ({
          name,
          address,
          version: status?.version ?? '',
          uptimeSeconds: (status?.uptime_ns ?? 0) / 1e9,
          flowsPerSecond: status?.flows_rate ?? 0,
          kept: status?.num_flows ?? 0,
          capacity: status?.max_flows ?? 0,
          seen: status?.seen_flows ?? 0,
          problem: status ? '' : error || 'does not answer',
        }),
      ),
    ),
});

function routesOver(flows: Flows, words: FilterWords): Route[] {
  const hubble: Pick<HubbleView, 'flows' | 'flows$' | 'words'> = { flows, words, flows$: kept(flows) };
  return flowRoutes({ hubble }, Date.now);
}

/** What was, then what comes, over failures. */
function kept(flows: Flows): Observable<Flow> {
  let isAgain = false;
  return new Observable<Flow>((reader) => {
    const ending = new AbortController();
    const request: GetFlowsRequest = { follow: true, number: isAgain ? 0 : PAST };
    isAgain = true;
    const read = async (): Promise<void> => {
      for await (const { flow } of flows(request, ending.signal)) if (flow) reader.next(flow as Flow);
      if (!ending.signal.aborted) throw new Error('the stream ended');
    };
    read().catch((error) => reader.error(error));
    return () => ending.abort();
  }).pipe(retry({ delay: () => timer(RETRY_MS) }));
}
