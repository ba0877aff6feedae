/** Keeps the EndpointSlices of Services as `endpoint-slices.ts` says, writing only what differs. */
import type { KubeObject } from '../../cluster/events.ts';
import { canonical } from '../../state/tables.ts';
import { MANAGED_BY, type Service, slicesOf } from './endpoint-slices.ts';
import { isConflict, isGone, type Objects } from './objects.ts';
import type { Pod } from './pod.ts';

/** Changes that come together are answered together. */
const GATHER_MS = 20;
const RESOURCE = 'endpointslices';
const ZONE = 'topology.kubernetes.io/zone';

export class SliceController {
  readonly #objects: Objects;
  readonly #log: (line: string) => void;
  readonly #services = new Map<string, Service>();
  /** Of nodes, by name. */
  readonly #zones = new Map<string, string>();
  /** What was written, by namespace/name. */
  readonly #written = new Map<string, { service: string; slice: KubeObject }>();
  readonly #dirty = new Set<string>();
  readonly #unfollow: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(objects: Objects, log: (line: string) => void) {
    this.#objects = objects;
    this.#log = log;
  }

  start(): void {
    const key = ({ metadata }: KubeObject) => `${metadata.namespace}/${metadata.name}`;
    const touchNamespace = ({ metadata: { namespace } }: Pod) => {
      for (const service of this.#services.keys()) if (service.startsWith(`${namespace}/`)) this.#touch(service);
    };
    this.#unfollow.push(
      this.#objects.follow<Service>('services', {
        upserted: (service) => {
          this.#services.set(key(service), service);
          this.#touch(key(service));
        },
        deleted: (service) => {
          this.#services.delete(key(service));
          this.#touch(key(service));
        },
      }),
      this.#objects.follow<KubeObject>('nodes', {
        upserted: ({ metadata }) => this.#place(metadata.name, metadata.labels?.[ZONE]),
        deleted: ({ metadata }) => this.#place(metadata.name, undefined),
      }),
      this.#objects.follow<Pod>('pods', { upserted: touchNamespace, deleted: touchNamespace }),
    );
  }

  stop(): void {
    clearTimeout(this.#timer);
    for (const end of this.#unfollow) end();
  }

  #place(node: string, zone: string | undefined): void {
    if (this.#zones.get(node) === zone) return;
    if (zone) this.#zones.set(node, zone);
    else this.#zones.delete(node);
    for (const service of this.#services.keys()) this.#touch(service);
  }

  #touch(service: string): void {
    this.#dirty.add(service);
    this.#timer ??= setTimeout(() => this.#work(), GATHER_MS).unref();
  }

  #work(): void {
    this.#timer = undefined;
    for (const key of this.#dirty) {
      try {
        this.#reconcile(key);
      } catch (error) {
        this.#log(`endpoint slices of service ${key}: ${error instanceof Error ? error.message : error}`);
      }
    }
    this.#dirty.clear();
  }

  #reconcile(key: string): void {
    const service = this.#services.get(key);
    const namespace = key.slice(0, key.indexOf('/'));
    const desired = service ? slicesOf(service, this.#objects.list<Pod>('pods', namespace), this.#zones) : [];
    for (const slice of desired) {
      const id = `${namespace}/${slice.metadata.name}`;
      const before = this.#written.get(id);
      if (before && canonical(before.slice) === canonical(slice)) continue;
      this.#put(slice);
      this.#written.set(id, { service: key, slice });
    }
    const wanted = new Set(desired.map((slice) => `${namespace}/${slice.metadata.name}`));
    for (const [id, { service: owner, slice }] of this.#written) {
      if (owner !== key || wanted.has(id)) continue;
      this.#written.delete(id);
      this.#remove(slice);
    }
  }

  #put(slice: KubeObject): void {
    try {
      this.#objects.create(RESOURCE, slice);
    } catch (error) {
      if (!isConflict(error)) throw error;
      const there = this.#objects.get(RESOURCE, slice.metadata.namespace ?? '', slice.metadata.name);
      const manager = there.metadata.labels?.['endpointslice.kubernetes.io/managed-by'] ?? 'nobody';
      if (manager !== MANAGED_BY) throw new Error(`EndpointSlice ${slice.metadata.name} exists, managed by ${manager}`);
      this.#objects.replace(RESOURCE, slice);
    }
  }

  #remove(slice: KubeObject): void {
    try {
      this.#objects.delete(RESOURCE, slice.metadata.namespace ?? '', slice.metadata.name);
    } catch (error) {
      // With its service the API server's garbage collection may have been quicker.
      if (!isGone(error)) throw error;
    }
  }
}
