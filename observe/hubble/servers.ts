/**
 * Where the Hubble API is served: a unix socket, a TCP port, or both.
 *
 * - The unix socket is root's alone. The TCP port has TLS when certificates are given, and asks clients for theirs when it has a CA.
 * - Certificates are renewed while we run: new connections get what the files hold then; while those are no good, what they held before.
 */
import { readFileSync, statSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { listening, listenOnSocket } from '../listening.ts';
import type { HubbleSource } from './source.ts';

export interface ServersConfig {
  /** Path in a directory that exists; empty: no socket. */
  socket: string;
  /** `host:port`, or empty: no TCP. */
  listen: string;
  /** Paths of PEM files; empty: no TLS. */
  tlsCert: string;
  tlsKey: string;
  /** Clients must have a certificate of this CA. */
  tlsClientCa: string;
}

/** Listening sockets, and the gRPC server behind them from the first client on. */
export class Servers {
  readonly #config: ServersConfig;
  readonly #source: HubbleSource;
  readonly #listening: Server[] = [];
  readonly #sockets = new Set<Socket>();
  #grpc: Promise<{ plain(socket: Socket): void; secure(socket: Socket): void; end(): void }> | undefined;

  constructor(config: ServersConfig, source: HubbleSource) {
    this.#config = config;
    this.#source = source;
  }

  async open(): Promise<void> {
    const { socket, listen } = this.#config;
    try {
      if (socket) this.#listening.push(await listenOnSocket(this.#server('plain'), socket));
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
    let secure: { of: string; injector: ReturnType<typeof server.createConnectionInjector> } | undefined;
    const renewed = (): typeof secure => {
      const of = [tlsCert, tlsKey, tlsClientCa].map(changedAt).join(' ');
      if (secure?.of === of) return secure;
      try {
        secure = { of, injector: server.createConnectionInjector(credentials()) };
      } catch (error) {
        if (!secure) throw error;
      }
      return secure;
    };
    return {
      plain: (socket: Socket) => plain.injectConnection(socket),
      secure: (socket: Socket) => {
        try {
          renewed()?.injector.injectConnection(socket);
        } catch {
          // No certificate was ever good: nobody is served over TCP, everybody over the socket.
          socket.destroy();
        }
      },
      end: () => {
        plain.destroy();
        secure?.injector.destroy();
        server.forceShutdown();
      },
    };
  }
}

const changedAt = (path: string): number => (path && statSync(path, { throwIfNoEntry: false })?.mtimeMs) || 0;
