/**
 * Services and EndpointSlices without what no machine reads: of 10,000 services every node keeps all of them in memory.
 *
 * - What recurs in thousands of endpoints, their conditions and the names of nodes, is kept once.
 */
import type { KubeObject } from './events.ts';

const APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';
const SLICE_LABELS = ['kubernetes.io/service-name', 'service.kubernetes.io/headless'];

/** A condition that an agent wrote: it is taken back by what it says. */
const isOwn = (condition: { type?: unknown } | null): boolean => String(condition?.type).startsWith('axoneme.io/');

export function slimService({ apiVersion, kind, metadata, spec, status }: KubeObject): KubeObject {
  const { [APPLIED]: _, ...annotations } = metadata.annotations ?? {};
  const { loadBalancer, conditions } = (status ?? {}) as { loadBalancer?: unknown; conditions?: unknown };
  const own = Array.isArray(conditions) ? conditions.filter(isOwn) : [];
  return {
    apiVersion,
    kind,
    metadata: {
      ...named(metadata),
      ...(metadata.labels && { labels: metadata.labels }),
      ...(Object.keys(annotations).length > 0 && { annotations }),
    },
    ...(spec !== undefined && { spec }),
    ...((loadBalancer !== undefined || own.length > 0) && {
      status: { ...(loadBalancer !== undefined && { loadBalancer }), ...(own.length > 0 && { conditions: own }) },
    }),
  };
}

export function slimEndpointSlice({
  apiVersion,
  kind,
  metadata,
  addressType,
  endpoints,
  ports,
}: KubeObject): KubeObject {
  const labels = Object.entries(metadata.labels ?? {}).filter(([name]) => SLICE_LABELS.includes(name));
  return {
    apiVersion,
    kind,
    metadata: { ...named(metadata), labels: Object.fromEntries(labels) },
    addressType,
    endpoints: Array.isArray(endpoints) ? endpoints.map(slimEndpoint) : endpoints,
    ports,
  };
}

function slimEndpoint(endpoint: unknown): unknown {
  if (endpoint === null || typeof endpoint !== 'object') return endpoint;
  const { addresses, conditions, nodeName, hints } = endpoint as Record<string, unknown>;
  return {
    addresses,
    ...(conditions !== undefined && { conditions: once(conditions) }),
    ...(nodeName !== undefined && { nodeName: once(nodeName) }),
    ...(hints !== undefined && { hints }),
  };
}

/** Of an object's metadata what says which object and state of it this is. */
export function named({
  name,
  namespace,
  uid,
  resourceVersion,
  creationTimestamp,
  deletionTimestamp,
}: KubeObject['metadata']) {
  return {
    name,
    ...(namespace !== undefined && { namespace }),
    ...(uid !== undefined && { uid }),
    ...(resourceVersion !== undefined && { resourceVersion }),
    ...(creationTimestamp !== undefined && { creationTimestamp }),
    ...(deletionTimestamp !== undefined && { deletionTimestamp }),
  };
}

const seen = new Map<string, unknown>();
const SEEN_MAX = 10_000;

/** The first value that was equal. */
function once(value: unknown): unknown {
  const text = JSON.stringify(value);
  const first = seen.get(text);
  if (first !== undefined) return first;
  if (seen.size >= SEEN_MAX) seen.clear();
  seen.set(text, value);
  return value;
}
