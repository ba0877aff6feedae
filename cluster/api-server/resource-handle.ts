/** One resource of the store, for programs in the same process such as the embedded kubelet: no HTTP, the same rules. */
import type { DeleteOptions } from './deletion.ts';
import type { Change } from './storage.ts';
import type { Store, WriteOptions } from './store.ts';
import { type ApiObject, isRecord, type ResourceType } from './types.ts';
import { inVersion } from './update.ts';

/** Namespaces are empty for cluster-scoped resources. Failures are thrown as ApiError. */
export class ResourceHandle {
  readonly type: ResourceType;
  #store: Store;

  constructor(store: Store, type: ResourceType) {
    this.#store = store;
    this.type = type;
  }

  list(namespace?: string): ApiObject[] {
    return this.#store.list(this.type, namespace);
  }

  find(namespace: string, name: string): ApiObject | undefined {
    const found = this.#store.storage.get(this.type.storageKey, namespace, name);
    return found && inVersion(this.type, found);
  }

  create(body: unknown, namespace?: string): ApiObject {
    const own =
      isRecord(body) && isRecord(body.metadata) && typeof body.metadata.namespace === 'string'
        ? body.metadata.namespace
        : 'default';
    return this.#store.create(this.type, this.type.namespaced ? (namespace ?? own) : '', body);
  }

  /** `change` gets a private copy and returns what to write, or undefined to leave it. */
  update(
    namespace: string,
    name: string,
    change: (current: ApiObject) => unknown,
    options: WriteOptions = {},
  ): ApiObject {
    return this.#store.modify(this.type, namespace, name, (current) => change(current) ?? current, options);
  }

  /** Merges `status` into the object's status, field by field at the first level. */
  updateStatus(namespace: string, name: string, status: object): ApiObject {
    return this.update(
      namespace,
      name,
      (current) => ({ ...current, status: { ...(current.status as object | undefined), ...status } }),
      { subresource: 'status' },
    );
  }

  /** Gives a pod its node. */
  bind(namespace: string, name: string, node: string): ApiObject {
    return this.#store.bind(this.type, namespace, name, node);
  }

  delete(namespace: string, name: string, options: DeleteOptions = {}): void {
    this.#store.delete(this.type, namespace, name, options);
  }

  /** Hears of each change after it happened; to write, wait for a later turn. Returns what ends it. */
  watch(listener: (change: Change) => void): () => void {
    return this.#store.storage.subscribe(this.type.storageKey, listener);
  }
}
