/**
 * What happens by itself: garbage collection by owner, emptying of namespaces, default service accounts, definitions, old events.
 *
 * - Controllers run after the write that woke them, never inside it, so that watchers see changes in order.
 * - Each pass looks at the state as it is; nothing depends on having seen every change.
 */
import { foregroundFinalizer, orphanFinalizer } from './deletion.ts';
import { ApiError } from './errors.ts';
import type { Store } from './store.ts';
import { contentFinalizer, specFinalizers } from './strategies/namespaces.ts';
import { type ApiObject, type ResourceType, stringAt } from './types.ts';

const definitions = 'apiextensions.k8s.io/customresourcedefinitions';

const eventLifeMs = 3_600_000;
const eventSweepMs = 300_000;

/** Returns what stops them. `now` is in milliseconds. */
export function startControllers(store: Store, now: () => number): () => void {
  let scheduled: NodeJS.Immediate | undefined;
  const wake = (): void => {
    scheduled ??= setImmediate(() => {
      scheduled = undefined;
      runOnce(store);
    });
  };
  for (const definition of store.storage.list(definitions)) store.registry.define(definition);
  const stopDefinitions = store.storage.subscribe(definitions, (change) => {
    if (change.type === 'DELETED') store.registry.undefine(change.object);
    else store.registry.define(change.object);
  });
  const stopAll = store.storage.subscribe('*', (change) => {
    if (concerns(change.type, change.resource, change.object)) wake();
  });
  const sweep = setInterval(() => expireEvents(store, now()), eventSweepMs);
  sweep.unref();
  wake();
  return () => {
    clearInterval(sweep);
    stopDefinitions();
    stopAll();
    clearImmediate(scheduled);
  };
}

/** Most writes (status, heartbeats) concern no controller. */
function concerns(type: string, resource: string, object: ApiObject): boolean {
  return (
    type === 'DELETED' ||
    object.metadata.deletionTimestamp !== undefined ||
    resource === '/namespaces' ||
    (type === 'ADDED' && object.metadata.ownerReferences !== undefined)
  );
}

function runOnce(store: Store): void {
  dropOrphanedInstances(store);
  for (const namespace of store.storage.list('/namespaces')) {
    if (namespace.metadata.deletionTimestamp) emptyNamespace(store, namespace);
    else ensureServiceAccount(store, namespace.metadata.name);
  }
  collectGarbage(store);
}

/** Objects of a definition that is gone. */
function dropOrphanedInstances(store: Store): void {
  const served = new Set(store.registry.all().map((type) => type.storageKey));
  for (const resource of store.storage.resources()) {
    if (served.has(resource)) continue;
    for (const object of store.storage.list(resource))
      store.storage.delete(resource, object.metadata.namespace ?? '', object.metadata.name);
  }
}

/** Events are news: an hour old they go. */
export function expireEvents(store: Store, now: number): void {
  for (const resource of ['/events', 'events.k8s.io/events']) {
    for (const event of store.storage.list(resource)) {
      const last = stringAt(event, 'lastTimestamp') || stringAt(event, 'eventTime') || event.metadata.creationTimestamp;
      if (now - Date.parse(last ?? '') < eventLifeMs) continue;
      store.storage.delete(resource, event.metadata.namespace ?? '', event.metadata.name);
    }
  }
}

function emptyNamespace(store: Store, namespace: ApiObject): void {
  const { name } = namespace.metadata;
  let left = 0;
  for (const type of preferred(store)) {
    if (!type.namespaced) continue;
    for (const object of store.storage.list(type.storageKey, name)) {
      if (!object.metadata.deletionTimestamp) quietly(() => store.delete(type, name, object.metadata.name));
      if (store.storage.get(type.storageKey, name, object.metadata.name)) left++;
    }
  }
  if (left > 0 || !specFinalizers(namespace).includes(contentFinalizer)) return;
  const finalizers = specFinalizers(namespace).filter((finalizer) => finalizer !== contentFinalizer);
  quietly(() =>
    store.modify(store.registry.named('namespaces'), '', name, (current) => ({ ...current, spec: { finalizers } }), {
      subresource: 'finalize',
    }),
  );
}

function ensureServiceAccount(store: Store, namespace: string): void {
  if (store.storage.get('/serviceaccounts', namespace, 'default')) return;
  quietly(() => store.create(store.registry.named('serviceaccounts'), namespace, { metadata: { name: 'default' } }));
}

/** Deletes dependents whose owners are all gone, and lets owners go that waited for their dependents. */
function collectGarbage(store: Store): void {
  const types = preferred(store);
  const objects = types.flatMap((type) => store.storage.list(type.storageKey).map((object) => ({ type, object })));
  const byUid = new Map(objects.map(({ object }) => [object.metadata.uid, object]));
  const dependents = new Map<string, { type: ResourceType; object: ApiObject }[]>();
  for (const entry of objects) {
    for (const owner of entry.object.metadata.ownerReferences ?? [])
      dependents.set(owner.uid, [...(dependents.get(owner.uid) ?? []), entry]);
  }
  for (const { type, object } of objects) {
    const owners = object.metadata.ownerReferences ?? [];
    if (owners.length > 0 && !owners.some((owner) => byUid.has(owner.uid)) && !object.metadata.deletionTimestamp)
      remove(store, type, object);
    if (!object.metadata.deletionTimestamp) continue;
    const held = object.metadata.finalizers ?? [];
    const mine = dependents.get(object.metadata.uid ?? '') ?? [];
    if (held.includes(orphanFinalizer)) {
      for (const dependent of mine) disown(store, dependent, object);
      release(store, type, object, orphanFinalizer);
    } else if (held.includes(foregroundFinalizer)) {
      for (const dependent of mine)
        if (!dependent.object.metadata.deletionTimestamp) remove(store, dependent.type, dependent.object);
      if (
        !mine.some((dependent) =>
          store.storage.get(
            dependent.type.storageKey,
            dependent.object.metadata.namespace ?? '',
            dependent.object.metadata.name,
          ),
        )
      )
        release(store, type, object, foregroundFinalizer);
    }
  }
}

function remove(store: Store, type: ResourceType, object: ApiObject): void {
  quietly(() =>
    store.delete(type, object.metadata.namespace ?? '', object.metadata.name, {
      preconditions: { uid: object.metadata.uid ?? '' },
    }),
  );
}

function disown(store: Store, dependent: { type: ResourceType; object: ApiObject }, owner: ApiObject): void {
  const { namespace = '', name } = dependent.object.metadata;
  quietly(() =>
    store.modify(dependent.type, namespace, name, (current) => {
      current.metadata.ownerReferences = (current.metadata.ownerReferences ?? []).filter(
        ({ uid }) => uid !== owner.metadata.uid,
      );
      return current;
    }),
  );
}

function release(store: Store, type: ResourceType, object: ApiObject, finalizer: string): void {
  const { namespace = '', name } = object.metadata;
  quietly(() =>
    store.modify(type, namespace, name, (current) => {
      current.metadata.finalizers = (current.metadata.finalizers ?? []).filter((held) => held !== finalizer);
      return current;
    }),
  );
}

/** One type for each stored resource, whatever versions it is served in. */
function preferred(store: Store): ResourceType[] {
  return [...new Map(store.registry.all().map((type) => [type.storageKey, type])).values()];
}

/** An object may have gone or changed between the look and the act: the next pass sees it as it then is. */
function quietly(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  }
}
