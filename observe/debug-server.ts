/**
 * The debug endpoint: HTTP on a unix socket that only root may open, and on a loopback port if one is configured.
 *
 * - It only looks, but for what routes of method POST say; those are on the unix socket alone. Secrets are never shown.
 * - A reader that is slow loses lines and is told so; it never holds the agent back.
 */
import { createServer, type RequestListener, type Server } from 'node:http';
import { History } from './debug/history.ts';
import { type Route, serve } from './debug/http.ts';
import { machineRoutes } from './debug/machine-routes.ts';
import { nodeRoutes } from './debug/node-routes.ts';
import { policyRoutes } from './debug/policy-routes.ts';
import { serviceRoutes } from './debug/service-routes.ts';
import type { DebugSources } from './debug/sources.ts';
import { tableRoutes } from './debug/table-routes.ts';
import { listening, listenOnSocket } from './listening.ts';
import { Names } from './names.ts';

export interface DebugServerOptions {
  socketPath: string;
  /** Loopback port; 0: none. */
  port: number;
}

export interface DebugServer {
  close(): Promise<void>;
}

const LOOPBACK = '127.0.0.1';
/** A web page cannot reach the port by a name that it made point here. */
const LOCAL_HOST = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;

/** Throws when another process serves on the socket. */
export async function startDebugServer(
  { socketPath, port }: DebugServerOptions,
  sources: DebugSources,
): Promise<DebugServer> {
  const history = new History(sources.inspector);
  const names = new Names(sources.inspector);
  const routes: Route[] = [
    ...serviceRoutes(sources),
    ...nodeRoutes(sources, names, Date.now),
    ...policyRoutes(sources),
    ...machineRoutes(sources, history),
    ...tableRoutes(sources),
  ];
  const servers: Server[] = [];
  const close = async (): Promise<void> => {
    history.close();
    names.close();
    await Promise.all(servers.map(ended));
  };
  try {
    const serving =
      (offered: readonly Route[]): RequestListener =>
      (request, response) =>
        void serve(offered, request, response);
    servers.push(await listenOnSocket(createServer(serving(routes)), socketPath));
    const looking = serving(routes.filter(({ method }) => method === undefined));
    if (port > 0) servers.push(await listening(createServer(localOnly(looking)), { host: LOOPBACK, port }));
  } catch (error) {
    await close();
    throw error;
  }
  return { close };
}

function localOnly(listener: RequestListener): RequestListener {
  return (request, response) => {
    if (LOCAL_HOST.test(request.headers.host ?? '')) listener(request, response);
    else
      response
        .writeHead(403, { 'content-type': 'application/json' })
        .end('{"error":"host is not local","expected":"Host: localhost"}\n');
  };
}

/** Streams would go on for ever: connections are cut. */
function ended(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
