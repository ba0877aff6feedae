/** Questions to other nodes, answered over ICMP and TCP of both families. */
import { createServer, type Server } from 'node:http';
import { describe, expect, test } from 'vitest';
import { listenTcp } from '../native/index.ts';
import { asker } from './health-ask.ts';

describe('questions', () => {
  async function serving(address: string, status: number): Promise<{ port: number; server: Server }> {
    const server = createServer((_request, response) => void response.writeHead(status).end());
    await new Promise<void>((done) => server.listen({ fd: listenTcp({ address, port: 0 }) }, done));
    return { port: (server.address() as { port: number }).port, server };
  }

  test.each(['127.0.0.1', '::1'])('%s answers echo and hello, with how long it took', async (address) => {
    const { port, server } = await serving(address, 200);
    const ask = asker();
    try {
      for (const asked of [await ask.echo(address, 3_000), await ask.hello(address, port, 3_000)]) {
        expect(asked.error).toBe('');
        expect(asked.latencyMs).toBeGreaterThan(0);
      }
    } finally {
      ask.close();
      server.close();
    }
  });

  test('what is no good answer says why', async () => {
    const { port, server } = await serving('127.0.0.1', 503);
    const ask = asker();
    try {
      expect((await ask.hello('127.0.0.1', port, 3_000)).error).toBe('GET /hello was answered with 503');
      expect((await ask.hello('127.0.0.1', 1, 3_000)).error).toMatch(/ECONNREFUSED/);
    } finally {
      ask.close();
      server.close();
    }
  });
});
