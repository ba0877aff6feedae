/**
 * The embedded API server: the Kubernetes REST protocol over objects in SQLite, for tests, demos and development.
 *
 * - One store, any number of listeners (a socket opened in a node's network namespace is handed over as `fd`).
 * - TLS unless `tls: false`: kubectl sends its token over TLS only.
 */
import { createServer as createPlainServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { crdObjects } from '../crds/index.ts';
import { bootstrapCluster } from './bootstrap.ts';
import { createServerCertificate, type ServerCertificate } from './certificates.ts';
import { startControllers } from './controllers.ts';
import { handleRequest } from './http-server.ts';
import { type KubeconfigOptions, kubeconfigText } from './kubeconfig.ts';
import { createOpenApi } from './openapi.ts';
import { Registry } from './registry.ts';
import { parseServiceRange, serviceAllocator } from './service-ips.ts';
import { Storage } from './storage.ts';
import { Store } from './store.ts';

export type ListenerOptions = { fd: number } | { host: string; port: number };

export interface ApiServerOptions {
  listeners: readonly ListenerOptions[];
  /** false: plain HTTP. Absent: a certificate is made, valid for loopback and the listeners' hosts. */
  tls?: false | ServerCertificate;
  /** Further addresses and names for the certificate. */
  hosts?: readonly string[];
  /** Clients must send it as bearer token. Absent: no authentication. */
  token?: string;
  /** File name or `:memory:`. */
  database: string;
  /** CustomResourceDefinitions to install at start; absent: all of cilium.io. */
  crds?: readonly unknown[];
  /** One per family, the default family first. */
  serviceCidrs?: readonly string[];
  /** Changes kept for watches. */
  watchHistory?: number;
  /** Milliseconds since the epoch. */
  clock?: () => number;
}

export interface ApiServer {
  url: string;
  port: number;
  store: Store;
  certificate: ServerCertificate | undefined;
  kubeconfig(options?: KubeconfigOptions): string;
  close(): Promise<void>;
}

const defaultServiceCidrs = ['10.96.0.0/16', 'fd00:10:96::/112'];
const defaultWatchHistory = 10_000;
const keepAliveMs = 120_000;

export async function startApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const now = options.clock ?? Date.now;
  const registry = new Registry();
  const storage = new Storage(options.database, options.watchHistory ?? defaultWatchHistory);
  const ranges = (options.serviceCidrs ?? defaultServiceCidrs).map(parseServiceRange);
  const store = new Store({
    storage,
    registry,
    now: () => new Date(now()).toISOString().replace(/\.\d+Z$/, 'Z'),
    services: serviceAllocator(ranges, storage),
  });
  const stopControllers = startControllers(store, now);
  bootstrapCluster(store, ranges, options.crds ?? crdObjects());

  const hosts = [
    '127.0.0.1',
    '::1',
    'localhost',
    'kubernetes.default.svc',
    ...(options.hosts ?? []),
    ...options.listeners.flatMap((listener) => ('host' in listener ? [listener.host] : [])),
  ];
  const certificate =
    options.tls === false ? undefined : (options.tls ?? createServerCertificate([...new Set(hosts)], new Date(now())));
  const context = { store, openApi: createOpenApi(registry), token: options.token, now };
  const listener: RequestListener = (request, response) => void handleRequest(context, request, response);
  const servers: Server[] = [];
  const close = async (): Promise<void> => {
    stopControllers();
    await Promise.all(servers.map(closeServer));
    storage.close();
  };
  try {
    for (const where of options.listeners) {
      const server = certificate
        ? createTlsServer({ cert: certificate.cert, key: certificate.key }, listener)
        : createPlainServer(listener);
      // Watches are idle for long; the client decides when a connection ends.
      server.requestTimeout = 0;
      // Longer than clients keep connections in their pools: they close first, and no request meets a closing server.
      server.keepAliveTimeout = keepAliveMs;
      servers.push(server);
      await listen(server, where);
    }
  } catch (error) {
    await close();
    throw error;
  }
  const address = servers[0]?.address() as AddressInfo | null | undefined;
  const port = address?.port ?? 0;
  const host = address?.address ?? '127.0.0.1';
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
  const url = `${certificate ? 'https' : 'http'}://${reachable}:${port}`;
  return {
    url,
    port,
    store,
    certificate,
    kubeconfig: (wanted = {}) => kubeconfigText(wanted.server ?? url, certificate?.ca, options.token, wanted),
    close,
  };
}

function listen(server: Server, where: ListenerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    if (!server.listening) return resolve();
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
