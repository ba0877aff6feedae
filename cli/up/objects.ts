/**
 * How the parts of a control plane that live in this process (scheduler, kubelets, controllers) see the API server.
 *
 * - Writes go through the store's validation as any client's; they are synchronous and fail with an `ApiError`.
 * - Changes are heard after the write that made them, in order, never from inside it.
 */
import { ApiError } from '../../cluster/api-server/errors.ts';
import { mergePatch } from '../../cluster/api-server/patch.ts';
import type { Store } from '../../cluster/api-server/store.ts';
import type { ResourceType } from '../../cluster/api-server/types.ts';
import type { KubeObject } from '../../cluster/events.ts';

export interface Follower<T> {
  where?(object: T): boolean;
  upserted(object: T): void;
  /** The last state; also when it left the selection. */
  deleted(object: T): void;
}

const MANAGER = 'axoneme-up';

export const isGone = (error: unknown): boolean => error instanceof ApiError && error.status.code === 404;
export const isConflict = (error: unknown): boolean => error instanceof ApiError && error.status.code === 409;

export class Objects {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** `resource` is a plural name, with its group where that is not unique. */
  type(resource: string): ResourceType {
    return this.#store.registry.named(resource);
  }

  list<T extends KubeObject>(resource: string, namespace?: string): T[] {
    return this.#store.list(this.type(resource), namespace) as unknown as T[];
  }

  get<T extends KubeObject>(resource: string, namespace: string, name: string): T {
    return this.#store.get(this.type(resource), namespace, name) as unknown as T;
  }

  create(resource: string, object: KubeObject): void {
    this.#store.create(this.type(resource), object.metadata.namespace ?? '', object, { fieldManager: MANAGER });
  }

  replace(resource: string, object: KubeObject): void {
    const { namespace = '', name } = object.metadata;
    this.#store.update(this.type(resource), namespace, name, object, { fieldManager: MANAGER });
  }

  /** A merge patch of the object, or of its status. `uid` keeps a namesake from getting what was meant for another. */
  patch(
    resource: string,
    namespace: string,
    name: string,
    patch: unknown,
    subresource: '' | 'status' = '',
    uid = '',
  ): void {
    const options = { subresource, fieldManager: MANAGER };
    const change = (current: unknown) => mergePatch(mergePatch(current, patch), uid ? { metadata: { uid } } : {});
    this.#store.modify(this.type(resource), namespace, name, change, options);
  }

  bind(namespace: string, pod: string, node: string): void {
    this.#store.bind(this.type('pods'), namespace, pod, node);
  }

  delete(
    resource: string,
    namespace: string,
    name: string,
    options: { uid?: string; gracePeriodSeconds?: number } = {},
  ): void {
    const { uid, ...rest } = options;
    this.#store.delete(this.type(resource), namespace, name, { ...rest, ...(uid && { preconditions: { uid } }) });
  }

  /** All that is there, then each change. Returns what ends it. */
  follow<T extends KubeObject>(resource: string, follower: Follower<T>): () => void {
    const { where = () => true, upserted, deleted } = follower;
    const inside = new Set<string>();
    const queue: (() => void)[] = [];
    let scheduled: NodeJS.Immediate | undefined;
    let ended = false;
    const drain = () => {
      scheduled = undefined;
      for (const deliver of queue.splice(0)) if (!ended) deliver();
    };
    const hear = (object: T, gone: boolean) => {
      const { namespace = '', name, uid = '' } = object.metadata;
      const id = `${namespace}/${name}/${uid}`;
      if (!gone && where(object)) {
        inside.add(id);
        queue.push(() => upserted(object));
      } else if (inside.delete(id)) queue.push(() => deleted(object));
      if (queue.length > 0) scheduled ??= setImmediate(drain);
    };
    for (const object of this.list<T>(resource)) hear(object, false);
    const unsubscribe = this.#store.storage.subscribe(this.type(resource).storageKey, ({ type, object }) => {
      hear(object as unknown as T, type === 'DELETED');
    });
    return () => {
      ended = true;
      unsubscribe();
      clearImmediate(scheduled);
    };
  }
}
