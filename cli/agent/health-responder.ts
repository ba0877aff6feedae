/** `GET /hello` for other nodes' probes: on the node itself, and in the namespace of its health endpoint. */
import { createServer, type Server } from 'node:http';
import { isErrno, listenTcp } from '../../native/index.ts';

const CONNECTIONS_MAX = 256;
const REQUEST_MS = 5_000;

export interface Responder {
  close(): Promise<void>;
}

/** On all addresses of the namespace: a path, or undefined for the process's own. */
export async function respondTo(port: number, netns?: string): Promise<Responder> {
  const server = createServer((request, response) => {
    const isHello = request.method === 'GET' && request.url === '/hello';
    response.writeHead(isHello ? 200 : 404, { 'content-type': 'text/plain', connection: 'close' });
    response.end(isHello ? 'hello\n' : 'expected GET /hello\n');
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.requestTimeout = REQUEST_MS;
  server.headersTimeout = REQUEST_MS;
  const fd = listeningIn(port, netns);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ fd }, () => {
      server.off('error', reject);
      server.on('error', () => {}); // of single connections
      resolve();
    });
  });
  return { close: () => closed(server) };
}

/** Of both families; of IPv4 alone where there is no other. */
function listeningIn(port: number, netns: string | undefined): number {
  const where = netns === undefined ? {} : { netns };
  try {
    return listenTcp({ ...where, address: '::', port });
  } catch (error) {
    if (!isErrno(error, 'EAFNOSUPPORT')) throw error;
    return listenTcp({ ...where, address: '0.0.0.0', port });
  }
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
