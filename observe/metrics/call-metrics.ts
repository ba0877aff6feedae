/**
 * Calls to the API server, and calls that this process answers, as Node's diagnostics channels tell of them; Cilium's names.
 *
 * - Paths are told without names of objects: a series for each kind of request, not for each request.
 */
import { type ChannelListener, subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Counter, Histogram, type Registry } from 'prom-client';

const BUCKETS_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60];
/** Of undici. */
interface Asked {
  request: { origin: string; path: string; method: string };
  response?: { statusCode: number };
}
interface Answered {
  request: IncomingMessage;
  response: ServerResponse;
}

/** `apiServer` is the origin of the requests that count. Returns what ends the counting. */
export function callMetrics(registry: Registry, apiServer: string): () => void {
  const registers = [registry];
  const latency = new Histogram({
    name: 'cilium_k8s_client_api_latency_time_seconds',
    help: 'From a request to the API server to the head of its answer',
    labelNames: ['path', 'method'],
    buckets: BUCKETS_SECONDS,
    registers,
  });
  const calls = new Counter({
    name: 'cilium_k8s_client_api_calls_total',
    help: 'Requests to the API server; a return code of 0 is no answer',
    labelNames: ['method', 'return_code'],
    registers,
  });
  const processing = new Histogram({
    name: 'cilium_agent_api_process_time_seconds',
    help: 'From a request to this agent to the end of its answer',
    labelNames: ['path', 'method', 'return_code'],
    buckets: BUCKETS_SECONDS,
    registers,
  });
  const began = new WeakMap<object, number>();
  const asked = (message: Asked): void => {
    if (message.request.origin === apiServer) began.set(message.request, performance.now());
  };
  const ended = ({ request, response }: Asked): void => {
    const since = began.get(request);
    if (since === undefined) return;
    began.delete(request);
    calls.inc({ method: request.method, return_code: String(response?.statusCode ?? 0) });
    if (!response) return;
    latency.observe({ path: kubePath(request.path), method: request.method }, (performance.now() - since) / 1000);
  };
  const came = ({ request }: Answered): void => void began.set(request, performance.now());
  const served = ({ request, response }: Answered): void => {
    const since = began.get(request);
    if (since === undefined || response.statusCode === 404) return;
    const labels = { path: ownPath(request.url), method: request.method ?? '', return_code: response.statusCode };
    processing.observe(labels, (performance.now() - since) / 1000);
  };
  const heard: [string, ChannelListener][] = [
    ['undici:request:create', asked as ChannelListener],
    ['undici:request:headers', ended as ChannelListener],
    ['undici:request:error', ended as ChannelListener],
    ['http.server.request.start', came as ChannelListener],
    ['http.server.response.finish', served as ChannelListener],
  ];
  for (const [channel, listener] of heard) subscribe(channel, listener);
  return () => {
    for (const [channel, listener] of heard) unsubscribe(channel, listener);
  };
}

/** `/api/v1/namespaces/{namespace}/pods/{name}/status`. */
export function kubePath(path: string): string {
  const [root = ''] = /^\/(?:api|apis\/[^/?]+)\/[^/?]+/.exec(path) ?? [];
  const rest = path.slice(root.length).replace(/\?.*$/s, '').split('/').filter(Boolean);
  if (root === '') return '/{other}';
  const isScoped = rest[0] === 'namespaces' && rest.length > 2;
  const [resource = '', name, sub] = isScoped ? rest.slice(2) : rest;
  const words = [...(isScoped ? ['namespaces', '{namespace}'] : []), resource];
  return [root, ...words, ...(name === undefined ? [] : ['{name}']), ...(sub === undefined ? [] : [sub])].join('/');
}

/** The first two words of a path of ours. */
const ownPath = (url = '/'): string => {
  const [first = '', second, more] = url.replace(/\?.*$/s, '').split('/').filter(Boolean);
  return `/${first}${second === undefined ? '' : `/${second}`}${more === undefined ? '' : '/{name}'}`;
};
