/** A page that is left open: as many flows as it would see in a day, as fast as it takes them, and what is left of them in its memory. */
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser, CDPSession, Page } from 'playwright-core';
import { type Route, serve } from '../../observe/debug/http.ts';
import { listening } from '../../observe/listening.ts';
import { type FilterWords, flowRoutes } from '../../observe/web/flow-routes.ts';
import { nodesRoute, withPage } from '../../observe/web/page.ts';
import { openPage, talkingCluster } from './web-fixtures.ts';

const WORKLOADS = 120;
/** Flows in one write. */
const BATCH = 100;

export interface OpenDay {
  page: Page;
  complaints: string[];
  /** Sends so many flows, at the pace at which the page reads them. */
  send(flows: number): Promise<void>;
  /** Bytes of the page's heap, once it has been swept. */
  heap(): Promise<number>;
  /** As an agent that ends and comes again. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

export async function openDay(browser: Browser, words: FilterWords): Promise<OpenDay> {
  const cluster = talkingCluster(WORKLOADS, words);
  cluster.talk(1_000);
  const routes: Route[] = [
    nodesRoute([{ name: 'node-1', base: '', views: ['map', 'flows'] }]),
    ...flowRoutes({ hubble: cluster }, Date.now),
  ];
  const readers = new Set<ServerResponse>();
  const listener = withPage((request, response) => {
    if (!/^\/v1\/flows\?.*follow/.test(request.url ?? '')) return void serve(routes, request, response);
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    readers.add(response);
    response.on('close', () => readers.delete(response));
  });
  const open = (port: number): Promise<Server> => listening(createServer(listener), { host: '127.0.0.1', port });
  let server = await open(0);
  const { port } = server.address() as AddressInfo;
  const ended = async (): Promise<void> => {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  };
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const { page, complaints } = await openPage(context, `http://127.0.0.1:${port}/#/flows`);
  const cdp: CDPSession = await context.newCDPSession(page);
  return {
    page,
    complaints,
    async send(flows) {
      for (let sent = 0; sent < flows; sent += BATCH) {
        const from = cluster.ring?.next ?? 0;
        cluster.talk(BATCH);
        let text = '';
        for (let at = from; at < from + BATCH; at++)
          text += `data: ${JSON.stringify({ flow: cluster.ring?.get(at) })}\n\n`;
        for (const reader of readers) if (!reader.write(text)) await drained(reader);
        if (readers.size === 0) throw new Error('nobody reads');
      }
    },
    async heap() {
      for (let turn = 0; turn < 3; turn++) await cdp.send('HeapProfiler.collectGarbage');
      return (await cdp.send('Runtime.getHeapUsage')).usedSize;
    },
    async restart() {
      await ended();
      server = await open(port);
    },
    async close() {
      await context.close();
      await ended();
    },
  };
}

async function drained(reader: ServerResponse): Promise<void> {
  const over = new AbortController();
  const first = ['drain', 'close'].map((event) => once(reader, event, { signal: over.signal }));
  await Promise.race(first);
  over.abort();
  await Promise.allSettled(first);
}
