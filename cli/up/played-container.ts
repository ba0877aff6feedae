/**
 * Plays a container without a command: answers with the pod's name on each of its ports, over IPv4 and IPv6.
 *
 * - TCP is HTTP: any path answers the pod's name; `/client` answers who asks, `/pod` all there is to know as JSON.
 * - UDP answers each datagram with the pod's name.
 * - Asked to stop it still accepts for a moment, until everybody has heard that it is going; answers then end their
 *   connections, and requests under way are finished as long as the grace lasts.
 */
import { createSocket } from 'node:dgram';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { bindUdp, listenTcp } from '../../native/index.ts';

export interface PlayedPort {
  containerPort: number;
  protocol: 'TCP' | 'UDP';
}
export interface Role {
  namespace: string;
  name: string;
  node: string;
  container: string;
}

/** Of both families at once: an IPv4 client appears as v4-mapped. */
const ANY_ADDRESS = '::';

export interface Played {
  /** Resolves when every port is closed. */
  stop(graceMs: number): Promise<void>;
}

/** One open port. */
interface Served {
  /** No new work: connections end after the next answer. */
  drain(): void;
  /** Resolves when the work under way is done. */
  finish(): Promise<void>;
  close(): void;
}

/** How long new connections are still taken: load balancers need to hear that this backend terminates. */
const LINGER_MAX_MS = 1_000;

/** Throws a NativeError (EADDRINUSE …) when a port cannot be had; nothing is left open then. */
export async function playContainer(netns: string, role: Role, ports: readonly PlayedPort[]): Promise<Played> {
  const open: Served[] = [];
  const close = () => {
    for (const served of open.splice(0)) served.close();
  };
  try {
    for (const { containerPort, protocol } of ports) {
      const place = { netns, address: ANY_ADDRESS, port: containerPort };
      open.push(protocol === 'TCP' ? await serveHttp(listenTcp(place), role) : await serveUdp(bindUdp(place), role));
    }
  } catch (error) {
    close();
    throw error;
  }
  return {
    async stop(graceMs) {
      const lingerMs = Math.min(graceMs / 2, LINGER_MAX_MS);
      for (const served of open) served.drain();
      if (lingerMs > 0) await sleep(lingerMs);
      const finished = Promise.all(open.map((served) => served.finish()));
      if (graceMs > 0) await Promise.race([finished, sleep(graceMs - lingerMs)]);
      close();
    },
  };
}

const sleep = (ms: number): Promise<void> =>
  new Promise((done) => {
    setTimeout(done, ms).unref();
  });

function serveHttp(fd: number, role: Role): Promise<Served> {
  let isDraining = false;
  const server = createServer((request, response) => {
    if (isDraining) response.setHeader('connection', 'close');
    respond(request, response, role);
  });
  server.keepAliveTimeout = 60_000;
  return new Promise((done, fail) => {
    server.on('error', fail);
    server.listen({ fd }, () =>
      done({
        drain: () => {
          isDraining = true;
        },
        finish: () =>
          new Promise((closed) => {
            server.close(() => closed());
            server.closeIdleConnections();
          }),
        close: () => {
          server.close();
          server.closeAllConnections();
        },
      }),
    );
  });
}

/** Who is at the other end, an IPv4 address in its own notation. */
export function clientAddress(request: IncomingMessage): string {
  return (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '');
}

function respond(request: IncomingMessage, response: ServerResponse, role: Role): void {
  const client = clientAddress(request);
  const bodies: Record<string, string> = {
    '/client': client,
    '/pod': JSON.stringify({ ...role, client, clientPort: request.socket.remotePort }),
  };
  const body = `${bodies[request.url ?? ''] ?? role.name}\n`;
  request.resume();
  response.writeHead(200, {
    'content-type': 'text/plain',
    'content-length': Buffer.byteLength(body),
    'x-client': client,
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

function serveUdp(fd: number, role: Role): Promise<Served> {
  const socket = createSocket('udp6');
  return new Promise((done, fail) => {
    socket.on('error', fail);
    socket.on('message', (_text, from) => socket.send(`${role.name}\n`, from.port, from.address, () => {}));
    socket.bind({ fd }, () => {
      socket.off('error', fail);
      // ICMP errors of single datagrams end up here; they concern nobody else.
      socket.on('error', () => {});
      done({ drain: () => {}, finish: () => Promise.resolve(), close: () => socket.close() });
    });
  });
}
