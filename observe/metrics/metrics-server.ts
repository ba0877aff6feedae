/** `/metrics` over HTTP, for Prometheus: the agent's and the flows', and those of the process. */
import { createServer, type Server } from 'node:http';
import { collectDefaultMetrics, Gauge, type Registry } from 'prom-client';
import type { DebugSources } from '../debug/sources.ts';
import type { Flow } from '../hubble/types.ts';
import { listening } from '../listening.ts';
import { agentMetrics } from './agent-metrics.ts';
import { callMetrics } from './call-metrics.ts';
import { changeMetrics } from './change-metrics.ts';
import { expose, formOf, newRegistry, PROMETHEUS } from './exposition.ts';
import { flowMetrics } from './flow-metrics.ts';
import { healthMetrics } from './health-metrics.ts';
import { kernelMemoryMetrics } from './kernel-memory.ts';
import type { KubeCounts } from './kube-metrics.ts';
import { propagationMetrics } from './propagation-metrics.ts';

export interface Metrics {
  /** Text of the exposition format. */
  text(): Promise<string>;
  count(flow: Flow): void;
  close(): Promise<void>;
}

/** `listen` is `host:port`; empty: no server, only the text. `apiServer` is its origin. */
export async function startMetrics(
  listen: string,
  sources: DebugSources,
  now: () => number,
  kube?: KubeCounts,
  apiServer = '',
): Promise<Metrics> {
  const registry = newRegistry();
  // Event-loop lag and memory among others, as every Node process calls them.
  collectDefaultMetrics({ register: registry });
  agentMetrics(registry, sources, now);
  const stops = [changeMetrics(registry, sources.inspector), callMetrics(registry, apiServer)];
  kernelMemoryMetrics(registry);
  kube?.register(registry);
  if (kube) stops.push(propagationMetrics(registry, sources.inspector, kube, now));
  bootstrapMetric(registry, now() - sources.agent.startedAt);
  healthMetrics(registry, sources);
  const count = flowMetrics(registry, sources.hubble);
  const text = (): Promise<string> => expose(registry, PROMETHEUS);
  const server = listen ? await serveMetrics(listen, registry) : undefined;
  return {
    text,
    count,
    async close() {
      for (const stop of stops) stop();
      registry.clear();
      server?.closeAllConnections();
      await new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
    },
  };
}

function bootstrapMetric(registry: Registry, tookMs: number): void {
  new Gauge({
    name: 'cilium_agent_bootstrap_seconds',
    help: 'From the start of the agent to its serving',
    labelNames: ['scope', 'outcome'],
    registers: [registry],
  }).set({ scope: 'overall', outcome: 'success' }, tookMs / 1000);
}

/** `/metrics` in the format that is asked for, and nothing else. */
export function serveMetrics(listen: string, registry: Registry): Promise<Server> {
  const colon = listen.lastIndexOf(':');
  const host = listen.slice(0, colon).replace(/^\[|\]$/g, '') || '::';
  const server = createServer((request, response) => {
    if (request.method !== 'GET' || new URL(request.url ?? '/', 'http://metrics').pathname !== '/metrics') {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('expected GET /metrics\n');
      return;
    }
    const form = formOf(request.headers.accept);
    expose(registry, form).then(
      (body) => response.writeHead(200, { 'content-type': form }).end(body),
      (error: unknown) => response.writeHead(500, { 'content-type': 'text/plain' }).end(`${String(error)}\n`),
    );
  });
  return listening(server, { host, port: Number(listen.slice(colon + 1)) });
}
