/** Other nodes over the debug endpoint. */
import { nodesOf } from '../remote-nodes.ts';
import { json, type Route } from './http.ts';
import type { DebugSources } from './sources.ts';

export function healthRoutes(sources: DebugSources): Route[] {
  return [
    {
      pattern: '/v1/health/nodes',
      doc: 'other nodes, their states, and what probes of them said',
      answer: () => json(nodesOf(sources)),
    },
  ];
}
