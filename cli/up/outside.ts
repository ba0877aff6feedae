/** The world outside the cluster: an HTTP server that answers with the address it is asked from, so masquerading shows. */
import { createServer } from 'node:http';
import { listenTcp } from '../../native/index.ts';
import { OUTSIDE } from './names.ts';
import { clientAddress } from './played-container.ts';

const PORT = 80;

export async function serveOutside(netns: string): Promise<() => void> {
  const servers = await Promise.all(
    [OUTSIDE.ipv4, OUTSIDE.ipv6].map((address) => {
      const server = createServer((request, response) => {
        request.resume();
        response.end(`${clientAddress(request)}\n`);
      });
      return new Promise<typeof server>((done, fail) => {
        server.on('error', fail);
        server.listen({ fd: listenTcp({ netns, address, port: PORT }) }, () => done(server));
      });
    }),
  );
  return () => {
    for (const server of servers) {
      server.close();
      server.closeAllConnections();
    }
  };
}
