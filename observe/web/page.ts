/** The page in front of a listener's own paths: its files for a browser, the rest as it was, and who may ask at all. */
import type { RequestListener } from 'node:http';
import { json, type Route } from '../debug/http.ts';
import { serveAsset } from './assets.ts';
import { refusalOf, securityHeaders } from './security.ts';

/** A node as the page finds it: where its paths begin. */
export interface PageNode {
  name: string;
  /** '' or `/nodes/NAME`. */
  base: string;
  /** Of the page; absent: all of them. */
  views?: readonly ('map' | 'flows' | 'machines' | 'health')[];
  /** What keeps it from being shown. */
  problem?: string;
}

export const nodesRoute = (nodes: readonly PageNode[]): Route => pagesNodes(async () => nodes);

export const pagesNodes = (nodes: () => Promise<readonly PageNode[]>): Route => ({
  pattern: '/v1/page/nodes',
  doc: 'nodes that the page shows, and where their paths begin',
  answer: async () => json(await nodes()),
});

export function withPage(listener: RequestListener): RequestListener {
  return (request, response) => {
    const refused = refusalOf(request);
    for (const [name, value] of Object.entries(securityHeaders())) response.setHeader(name, value ?? '');
    if (refused) {
      const { status, ...body } = refused;
      response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
      return;
    }
    const isForPeople = request.url !== '/' || request.headers.accept?.includes('text/html');
    const served = isForPeople ? serveAsset(request, response) : Promise.resolve(false);
    served.then(
      (isServed) => {
        if (!isServed) listener(request, response);
      },
      (error) => {
        const body = { error: `the page cannot be served: ${error.message}`, expected: 'npm packages installed' };
        response.writeHead(500, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
      },
    );
  };
}
