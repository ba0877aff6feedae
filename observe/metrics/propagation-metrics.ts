/**
 * How long it takes until the API server tells what this node said of an endpoint: so long other nodes do not know it.
 *
 * - It is measured on new CiliumEndpoints of this node, from the first write that was planned to the event of the watch: what changes
 *   nothing that a machine reads may have no event.
 */
import { Histogram, type Registry } from 'prom-client';
import type { Inspector } from '../../reconcilers/inspect.ts';
import type { KubeCounts } from './kube-metrics.ts';

const BUCKETS_SECONDS = [0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 600];
/** What comes later is no answer: the object was there when it was written, and has changed since. */
const TOLD_WITHIN_MS = 600_000;
const ENDPOINTS = 'ciliumendpoints';

/** Returns what ends the measuring. */
export function propagationMetrics(
  registry: Registry,
  inspector: Pick<Inspector, 'ops$'>,
  kube: KubeCounts,
  now: () => number,
): () => void {
  const delay = new Histogram({
    name: 'cilium_endpoint_propagation_delay_seconds',
    help: 'From a change of a CiliumEndpoint of this node to its event from the API server',
    buckets: BUCKETS_SECONDS,
    registers: [registry],
  });
  /** By row: since when it is on its way. */
  const sent = new Map<string, number>();
  const ops = inspector.ops$.subscribe(({ table, key, action, before, plannedAt }) => {
    if (table !== 'kube.objects' || !key.startsWith(`${ENDPOINTS}/`)) return;
    if (action === 'delete') sent.delete(key);
    else if (before === undefined && !sent.has(key)) sent.set(key, plannedAt);
  });
  kube.heard = (event) => {
    if (event.type !== 'kube.upserted' || event.resource !== ENDPOINTS) return;
    const { namespace, name } = event.object.metadata;
    const key = `${ENDPOINTS}/${namespace}/${name}`;
    const since = sent.get(key);
    if (since === undefined) return;
    sent.delete(key);
    const tookMs = Math.max(0, now() - since);
    if (tookMs < TOLD_WITHIN_MS) delay.observe(tookMs / 1000);
  };
  return () => {
    ops.unsubscribe();
    kube.heard = undefined;
  };
}
