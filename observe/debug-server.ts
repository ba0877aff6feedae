/**
 * The debug endpoint: HTTP on a unix socket that only root may open, and on a loopback port if one is configured.
 *
 * - It only looks: nothing changes by any request, and secrets are never shown.
 * - A reader that is slow loses lines and is told so; it never holds the agent back.
 */
import { chmodSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { History } from './debug/history.ts';
import { type Route, serve } from './debug/http.ts';
import { machineRoutes } from './debug/machine-routes.ts';
import { nodeRoutes } from './debug/node-routes.ts';
import type { DebugSources } from './debug/sources.ts';
import { tableRoutes } from './debug/table-routes.ts';
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
    ...nodeRoutes(sources, names, Date.now),
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
    const listener: RequestListener = (request, response) => void serve(routes, request, response);
    servers.push(await onSocket(socketPath, listener));
    if (port > 0) servers.push(await listening(createServer(localOnly(listener)), { host: LOOPBACK, port }));
  } catch (error) {
    await close();
    throw error;
  }
  return { close };
}

async function onSocket(path: string, listener: RequestListener): Promise<Server> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  if (existsSync(path)) {
    if (await isServed(path)) throw new Error(`debug socket ${path} is served by another process`);
    rmSync(path);
  }
  // The socket is never there with more rights than it ends up with.
  const before = process.umask(0o177);
  try {
    const server = await listening(createServer(listener), { path });
    chmodSync(path, 0o600);
    return server;
  } finally {
    process.umask(before);
  }
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

function listening(server: Server, where: { path: string } | { host: string; port: number }): Promise<Server> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve(server);
    });
  });
}

function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    probe.on('error', () => resolve(false));
  });
}

/** Streams would go on for ever: connections are cut. */
function ended(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
