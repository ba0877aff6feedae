/** What the API server tells of objects, under Cilium's names. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { ClusterEvent, KubeObject } from '../../cluster/events.ts';

type Change = { scope: string; action: 'create' | 'update' | 'delete'; at: number; count: number };

/** Counts from the first event on; the metrics come later. */
export class KubeCounts {
  readonly #now: () => number;
  readonly #changes = new Map<string, Change>();
  /** Services that are there. */
  readonly #services = new Set<string>();
  readonly #serviceEvents = { add: 0, update: 0, delete: 0 };
  /** Told of each event that was counted. */
  heard: ((event: ClusterEvent) => void) | undefined;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** One more event from a watch. */
  readonly count = (event: ClusterEvent): void => {
    if (event.type !== 'kube.upserted' && event.type !== 'kube.deleted') return;
    const action = event.type === 'kube.upserted' ? 'update' : 'delete';
    const key = `${event.resource} ${action}`;
    const known = this.#changes.get(key) ?? { scope: event.resource, action, at: 0, count: 0 };
    known.at = this.#now();
    known.count++;
    this.#changes.set(key, known);
    if (event.resource === 'services') this.#countService(event.object.metadata, action);
    this.heard?.(event);
  };

  #countService({ namespace, name }: KubeObject['metadata'], action: Change['action']): void {
    const key = `${namespace}/${name}`;
    const isThere = this.#services.has(key);
    if (action === 'delete') this.#services.delete(key);
    else this.#services.add(key);
    if (action !== 'delete') this.#serviceEvents[isThere ? 'update' : 'add']++;
    else if (isThere) this.#serviceEvents.delete++;
  }

  register(registry: Registry): void {
    const registers = [registry];
    const changes = (): Iterable<Change> => this.#changes.values();
    new Counter({
      name: 'cilium_kubernetes_events_total',
      help: 'Changes of objects that were taken from the API server',
      labelNames: ['scope', 'action', 'status'],
      registers,
      collect() {
        this.reset();
        for (const { scope, action, count } of changes()) this.inc({ scope, action, status: 'success' }, count);
      },
    });
    new Counter({
      name: 'cilium_kubernetes_events_received_total',
      help: 'Changes of objects that the API server told of, beside those that say what was known',
      labelNames: ['scope', 'action', 'valid', 'equal'],
      registers,
      collect() {
        this.reset();
        for (const { scope, action, count } of changes())
          this.inc({ scope, action, valid: 'true', equal: 'false' }, count);
      },
    });
    const services = this.#serviceEvents;
    new Counter({
      name: 'cilium_services_events_total',
      help: 'Services that came, changed and went',
      labelNames: ['action'],
      registers,
      collect() {
        this.reset();
        for (const [action, count] of Object.entries(services)) this.inc({ action }, count);
      },
    });
    new Gauge({
      name: 'cilium_event_ts',
      help: 'When the last such event came, in seconds since the epoch',
      labelNames: ['source', 'scope', 'action'],
      registers,
      collect() {
        this.reset();
        for (const { scope, action, at } of changes()) this.set({ source: 'k8s', scope, action }, at / 1000);
      },
    });
  }
}
