/** Kubernetes Events about pods, as `kubectl describe` shows them; a repeated one is counted. */
import { randomBytes } from 'node:crypto';
import { ApiError } from '../../cluster/api-server/errors.ts';
import type { Objects } from './objects.ts';
import type { Pod } from './pod.ts';

/** Forgotten beyond this: a repetition is then a new event. */
const REMEMBERED_MAX = 1_000;
/** As long as a real API server keeps them. */
const KEPT_MS = 3_600_000;

export class EventRecorder {
  readonly #objects: Objects;
  readonly #component: string;
  readonly #host: string;
  readonly #recorded = new Map<string, { name: string; count: number }>();

  constructor(objects: Objects, component: string, host = '') {
    this.#objects = objects;
    this.#component = component;
    this.#host = host;
  }

  /** Never fails: an event that cannot be written (its namespace is going) is lost. */
  record(pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string): void {
    try {
      this.#write(pod, type, reason, message);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }

  #write(pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string): void {
    const { namespace, name, uid } = pod.metadata;
    const key = `${uid} ${reason} ${message}`;
    const lastTimestamp = new Date().toISOString();
    const known = this.#recorded.get(key);
    if (known) {
      this.#recorded.delete(key);
      this.#objects.patch('Event', namespace, known.name, { count: known.count + 1, lastTimestamp });
      this.#recorded.set(key, { ...known, count: known.count + 1 });
      return;
    }
    if (this.#recorded.size >= REMEMBERED_MAX) this.#recorded.clear();
    const own = `${name}.${randomBytes(8).toString('hex')}`;
    const event = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: own, namespace },
      involvedObject: { apiVersion: 'v1', kind: 'Pod', namespace, name, uid },
      type,
      reason,
      message,
      source: { component: this.#component, host: this.#host },
      reportingComponent: this.#component,
      reportingInstance: this.#host,
      firstTimestamp: lastTimestamp,
      lastTimestamp,
      count: 1,
    };
    this.#objects.create('Event', event);
    this.#recorded.set(key, { name: own, count: 1 });
    setTimeout(() => this.#forget(namespace, own), KEPT_MS).unref();
  }

  #forget(namespace: string, name: string): void {
    try {
      this.#objects.delete('Event', namespace, name);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }
}
