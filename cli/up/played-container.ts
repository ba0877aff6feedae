/**
 * Plays a container without a command: answers with the pod's name on each of its ports, over IPv4 and IPv6.
 *
 * - TCP is HTTP: any path answers the pod's name; `/client` answers who asks, `/pod` all there is to know as JSON.
 * - UDP answers each datagram with the pod's name.
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
  close(): void;
}

/** Throws a NativeError (EADDRINUSE …) when a port cannot be had; nothing is left open then. */
export async function playContainer(netns: string, role: Role, ports: readonly PlayedPort[]): Promise<Played> {
  const open: (() => void)[] = [];
  const close = () => {
    for (const shut of open.splice(0)) shut();
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
  return { close };
}

function serveHttp(fd: number, role: Role): Promise<() => void> {
  const server = createServer((request, response) => respond(request, response, role));
  server.keepAliveTimeout = 60_000;
  return new Promise((done, fail) => {
    server.on('error', fail);
    server.listen({ fd }, () =>
      done(() => {
        server.close();
        server.closeAllConnections();
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

function serveUdp(fd: number, role: Role): Promise<() => void> {
  const socket = createSocket('udp6');
  return new Promise((done, fail) => {
    socket.on('error', fail);
    socket.on('message', (_text, from) => socket.send(`${role.name}\n`, from.port, from.address, () => {}));
    socket.bind({ fd }, () => {
      socket.off('error', fail);
      // ICMP errors of single datagrams end up here; they concern nobody else.
      socket.on('error', () => {});
      done(() => socket.close());
    });
  });
}
