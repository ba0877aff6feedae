/**
 * The page over several nodes of this machine, each behind its debug socket: flows and the map are merged, the rest is passed on.
 *
 * - Only GET, and only what the sockets themselves offer for looking at.
 * - A node that does not answer leaves the others' answers whole.
 */
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { Observable } from 'rxjs';
import { json, Refusal, type Route, serve } from '../debug/http.ts';
import { listening } from '../listening.ts';
import type { FlowLine } from './flow-routes.ts';
import { nodesRoute, withPage } from './page.ts';
import { merged, type ServiceMapView } from './service-map.ts';

export interface PageTarget {
  name: string;
  debugSocket: string;
}

export interface ClusterPage {
  url: string;
  close(): Promise<void>;
}

const LOOPBACK = '127.0.0.1';
const TIMEOUT_MS = 10_000;
const RETRY_MS = 1_000;
/** Flows that may come between asking for what was and following what comes; the page knows those it has. */
const OVERLAP = 20;

/** `port` is taken when it is free; 0: any. */
export async function startClusterPage(targets: readonly PageTarget[], port: number): Promise<ClusterPage> {
  const routes = [nodesRoute(targets.map(({ name }) => ({ name, base: `/nodes/${name}` }))), ...mergedRoutes(targets)];
  const listener = withPage((request, response) => {
    const [, name, path] = /^\/nodes\/([^/?]+)(\/(?:v1|metrics|at)\b.*)$/.exec(request.url ?? '') ?? [];
    const target = targets.find((one) => one.name === name);
    if (target && path) pass(target, path, request, response);
    else void serve(routes, request, response);
  });
  const open = (wanted: number) => listening(createServer(listener), { host: LOOPBACK, port: wanted });
  const server = await open(port).catch((error) => {
    if (port !== 0 && error.code === 'EADDRINUSE') return open(0);
    throw error;
  });
  return {
    url: `http://${LOOPBACK}:${(server.address() as AddressInfo).port}/`,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

function mergedRoutes(targets: readonly PageTarget[]): Route[] {
  return [
    {
      pattern: '/v1/flows',
      doc: 'flows of all nodes; ?q=, ?last=, ?follow as at a node',
      async answer({ params }) {
        const isFollowing = params.has('follow');
        params.delete('follow');
        const lines = (await Promise.all(targets.map((target) => fetched<FlowLine[]>(target, `/v1/flows?${params}`))))
          .flat()
          .sort((a, b) => timeOf(a) - timeOf(b));
        const last = lines.slice(-Number(params.get('last') ?? 200));
        if (!isFollowing) return json(last);
        const query = new URLSearchParams(params);
        query.set('last', String(OVERLAP));
        return { kind: 'stream', past: last, lines: followed(targets, `/v1/flows?follow&${query}`) };
      },
    },
    {
      pattern: '/v1/service-map',
      doc: 'who talks to whom, in the whole cluster',
      answer: async () =>
        json(merged(await Promise.all(targets.map((target) => fetched<ServiceMapView>(target, '/v1/service-map'))))),
    },
  ];
}

const timeOf = ({ flow }: FlowLine): number => (flow?.time ? flow.time.seconds + flow.time.nanos / 1e9 : 0);

/** Throws what the node says is wrong with the request. */
function fetched<T>({ name, debugSocket }: PageTarget, path: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const call = get({ socketPath: debugSocket, path, agent: false, timeout: TIMEOUT_MS }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', () => resolve(empty(path) as T));
      response.on('end', () => {
        try {
          const body = JSON.parse(Buffer.concat(chunks).toString()) as T & { error?: string; expected?: string };
          if (response.statusCode === 200) resolve(body);
          else reject(new Refusal(response.statusCode ?? 502, body.error ?? 'no answer', body.expected ?? ''));
        } catch {
          reject(new Refusal(502, `${name} answers with what is no JSON`, 'an agent of this version'));
        }
      });
    });
    call.on('timeout', () => call.destroy());
    call.on('error', () => resolve(empty(path) as T));
  });
}

const empty = (path: string): unknown => (path.startsWith('/v1/flows') ? [] : { nodes: [], edges: [] });

/** Over restarts of the agents. */
function followed(targets: readonly PageTarget[], path: string): Observable<FlowLine> {
  return new Observable((reader) => {
    const ended = new AbortController();
    const follow = (target: PageTarget): void => {
      if (ended.signal.aborted) return;
      const again = (): void => void setTimeout(() => follow(target), RETRY_MS).unref();
      const options = { socketPath: target.debugSocket, path, agent: false, signal: ended.signal };
      get(options, (response) => {
        response.once('close', again).on('error', () => undefined);
        if (response.statusCode !== 200) response.resume();
        else
          createInterface({ input: response })
            .on('error', () => undefined)
            .on('line', (line) => {
              if (line !== '') reader.next(JSON.parse(line) as FlowLine);
            });
      }).once('error', again);
    };
    for (const target of targets) follow(target);
    return () => ended.abort();
  });
}

function pass(target: PageTarget, path: string, request: IncomingMessage, response: ServerResponse): void {
  const call = get(
    { socketPath: target.debugSocket, path, agent: false, headers: { accept: request.headers.accept ?? '*/*' } },
    (answer) => {
      response.writeHead(answer.statusCode ?? 502, { 'content-type': answer.headers['content-type'] ?? 'text/plain' });
      answer.pipe(response);
      answer.on('error', () => response.destroy());
    },
  );
  call.on('error', () => {
    if (response.headersSent) return response.destroy();
    const body = { error: `${target.name} does not answer`, expected: 'a running agent' };
    response.writeHead(502, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
  });
  response.on('close', () => call.destroy());
}
