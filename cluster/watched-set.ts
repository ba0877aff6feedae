/**
 * What a watcher knows: the set of objects said and not deleted, and the revision up to which it is complete. No I/O.
 *
 * - Each state of an object (uid and resourceVersion) is said at most once; what is said as deleted was said before.
 * - A list is compared with the set: only differences are said, what is there before what is gone: an address that went from one object to
 *   another is not nobody's in between.
 * - Revisions go up between two lists; an event at or below the revision is a repetition.
 */
import { type KubeObject, objectKey } from './events.ts';

export type WatchEvent = { type: 'upsert' | 'delete'; object: KubeObject } | { type: 'synced' };

/** Leaves out what nobody reads. What it takes it leaves as it is, and name, uid and revision stay. */
export type Slim = (object: KubeObject) => KubeObject;

export class WatchedSet {
  readonly #known = new Map<string, KubeObject>();
  readonly #slim: Slim;
  #revision = '';
  #synced = false;

  constructor(slim: Slim = (object) => object) {
    this.#slim = slim;
  }

  /** Where a watch goes on. */
  get revision(): string {
    return this.#revision;
  }

  /** All objects there are at a revision. */
  listed(objects: readonly KubeObject[], revision: string): WatchEvent[] {
    const events: WatchEvent[] = [];
    const keys = new Set(objects.map(objectKey));
    const gone = [...this.#known].filter(([key]) => !keys.has(key));
    for (const object of objects) events.push(...this.#upserted(object));
    for (const [key, object] of gone) {
      this.#known.delete(key);
      events.push({ type: 'delete', object });
    }
    this.#revision = revision;
    if (!this.#synced) events.push({ type: 'synced' });
    this.#synced = true;
    return events;
  }

  /** One event of a watch. */
  heard(type: string, object: KubeObject): WatchEvent[] {
    const revision = object.metadata.resourceVersion ?? '';
    if (revision === '' || !isLater(revision, this.#revision)) return [];
    this.#revision = revision;
    switch (type) {
      case 'ADDED':
      case 'MODIFIED':
        return this.#upserted(object);
      case 'DELETED':
        return this.#known.delete(objectKey(object)) ? [{ type: 'delete', object: this.#slim(trimmed(object)) }] : [];
      default:
        return [];
    }
  }

  #upserted(object: KubeObject): WatchEvent[] {
    const key = objectKey(object);
    const before = this.#known.get(key);
    const { uid, resourceVersion } = object.metadata;
    if (before?.metadata.uid === uid && before?.metadata.resourceVersion === resourceVersion) return [];
    const said = this.#slim(trimmed(object));
    this.#known.set(key, said);
    // A namesake: the object that had the name before is gone.
    const gone: WatchEvent[] = before && before.metadata.uid !== uid ? [{ type: 'delete', object: before }] : [];
    return [...gone, { type: 'upsert', object: said }];
  }
}

/** Revisions are numbers in practice; one that is not can only be told from its equal. */
function isLater(revision: string, than: string): boolean {
  if (!/^\d+$/.test(revision) || !/^\d+$/.test(than)) return revision !== than;
  return BigInt(revision) > BigInt(than);
}

/** Without managedFields, which nobody here reads and which are most of an object. */
function trimmed(object: KubeObject): KubeObject {
  const { managedFields: _, ...metadata } = object.metadata as KubeObject['metadata'] & { managedFields?: unknown };
  return { ...object, metadata };
}
