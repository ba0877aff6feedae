/**
 * The debug endpoint: HTTP on a unix socket that only root may open, and on a loopback port if one is configured.
 *
 * - It only looks, but for what routes of method POST say; those are on the unix socket alone. Secrets are never shown.
 * - The loopback port has the web page too, and answers nobody but this machine's own programs and that page.
 * - A reader that is slow loses lines and is told so; it never holds the agent back.
 */
import { createServer, type RequestListener, type Server } from 'node:http';
import { healthRoutes } from './debug/health-routes.ts';
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
import { flowRoutes } from './web/flow-routes.ts';
import { nodesRoute, withPage } from './web/page.ts';

export interface DebugServerOptions {
  socketPath: string;
  /** Loopback port; 0: none. */
  port: number;
  /** Routes beside those of every agent. */
  more?: readonly Route[];
}

export interface DebugServer {
  close(): Promise<void>;
}

const LOOPBACK = '127.0.0.1';

/** Throws when another process serves on the socket. */
export async function startDebugServer(
  { socketPath, port, more = [] }: DebugServerOptions,
  sources: DebugSources,
): Promise<DebugServer> {
  const history = new History(sources.inspector);
  const names = new Names(sources.inspector);
  const routes: Route[] = [
    ...more,
    ...serviceRoutes(sources),
    ...nodeRoutes(sources, names, Date.now),
    ...healthRoutes(sources),
    ...policyRoutes(sources),
    ...machineRoutes(sources, history),
    ...tableRoutes(sources),
    ...flowRoutes(sources, Date.now),
    nodesRoute([{ name: sources.agent.nodeName, base: '' }]),
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
    if (port > 0) servers.push(await listening(createServer(withPage(looking)), { host: LOOPBACK, port }));
  } catch (error) {
    await close();
    throw error;
  }
  return { close };
}

/** Streams would go on for ever: connections are cut. */
function ended(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
