/**
 * Objects with one revision counter: SQLite for what must survive, memory for reading, and a history for watches.
 *
 * - Each write is one revision, in SQLite before it is visible; revisions never repeat, not even over a reopening.
 * - Objects are frozen. A change carries the object before it.
 * - Changes up to `historyMax` back can be replayed; older ones are compacted, and so is everything at a reopening.
 */
import Database from 'better-sqlite3';
import type { ApiObject } from './types.ts';

export interface Change {
  revision: number;
  resource: string;
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  /** With this change's revision as resourceVersion, for deletions too. */
  object: ApiObject;
  previous?: ApiObject;
}

export type Listener = (change: Change) => void;

export class Storage {
  #database: Database.Database;
  #objects = new Map<string, Map<string, ApiObject>>();
  /** Keys in order; absent after a key came or went. */
  #sortedKeys = new Map<string, string[]>();
  #history: Change[] = [];
  #historyMax: number;
  #listeners = new Map<string, Set<Listener>>();
  #revision: number;
  #compacted: number;
  #write: Database.Statement;
  #remove: Database.Statement;
  #count: Database.Statement;

  /** `database` is a file name or `:memory:`. */
  constructor(database: string, historyMax: number) {
    this.#historyMax = historyMax;
    this.#database = new Database(database);
    this.#database.pragma('journal_mode = WAL');
    this.#database.pragma('synchronous = NORMAL');
    // key: namespace/name, with an empty namespace for cluster-scoped objects; body: the object as JSON.
    this.#database.exec(`
      CREATE TABLE IF NOT EXISTS objects (resource TEXT, key TEXT, body TEXT NOT NULL, PRIMARY KEY (resource, key)) WITHOUT ROWID;
      CREATE TABLE IF NOT EXISTS revision (only INTEGER PRIMARY KEY CHECK (only = 1), value INTEGER NOT NULL);
      INSERT OR IGNORE INTO revision VALUES (1, 1);
    `);
    this.#write = this.#database.prepare('INSERT OR REPLACE INTO objects VALUES (?, ?, ?)');
    this.#remove = this.#database.prepare('DELETE FROM objects WHERE resource = ? AND key = ?');
    this.#count = this.#database.prepare('UPDATE revision SET value = ?');
    this.#revision = this.#database.prepare<[], { value: number }>('SELECT value FROM revision').get()?.value ?? 1;
    this.#compacted = this.#revision;
    for (const row of this.#database
      .prepare<[], { resource: string; key: string; body: string }>('SELECT * FROM objects')
      .iterate()) {
      this.#table(row.resource).set(row.key, freeze(JSON.parse(row.body) as ApiObject));
    }
  }

  get revision(): number {
    return this.#revision;
  }

  /** Watches can start at this revision or later. */
  get compacted(): number {
    return this.#compacted;
  }

  get(resource: string, namespace: string, name: string): ApiObject | undefined {
    return this.#objects.get(resource)?.get(`${namespace}/${name}`);
  }

  /** All objects, or those of one namespace, ordered by namespace and name. */
  list(resource: string, namespace?: string): ApiObject[] {
    const table = this.#table(resource);
    let keys = this.#sortedKeys.get(resource);
    if (!keys) {
      keys = [...table.keys()].sort();
      this.#sortedKeys.set(resource, keys);
    }
    const all = keys.flatMap((key) => table.get(key) ?? []);
    return namespace ? all.filter((object) => object.metadata.namespace === namespace) : all;
  }

  /** All objects in no order. */
  each(resource: string): Iterable<ApiObject> {
    return this.#table(resource).values();
  }

  /** The list as it was at an earlier revision that is not compacted. */
  listAt(resource: string, revision: number, namespace?: string): ApiObject[] {
    if (revision >= this.#revision) return this.list(resource, namespace);
    const objects = new Map(this.#table(resource));
    for (let i = this.#history.length - 1; i >= 0; i--) {
      const change = this.#history[i];
      if (!change || change.revision <= revision) break;
      if (change.resource !== resource) continue;
      if (change.previous) objects.set(keyOf(change.object), change.previous);
      else objects.delete(keyOf(change.object));
    }
    const all = [...objects].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
    return namespace ? all.filter((object) => object.metadata.namespace === namespace) : all;
  }

  /** Names of all resources that have objects. */
  resources(): string[] {
    return [...this.#objects].filter(([, table]) => table.size > 0).map(([resource]) => resource);
  }

  /** Creates or replaces; the object gets the new revision as its resourceVersion. */
  put(resource: string, object: ApiObject): ApiObject {
    const revision = this.#revision + 1;
    const stored = freeze({ ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } });
    const key = keyOf(stored);
    const previous = this.#table(resource).get(key);
    this.#commit(revision, () => this.#write.run(resource, key, JSON.stringify(stored)));
    this.#table(resource).set(key, stored);
    if (!previous) this.#sortedKeys.delete(resource);
    this.#publish(
      previous
        ? { revision, resource, type: 'MODIFIED', object: stored, previous }
        : { revision, resource, type: 'ADDED', object: stored },
    );
    return stored;
  }

  delete(resource: string, namespace: string, name: string): ApiObject | undefined {
    const key = `${namespace}/${name}`;
    const previous = this.#table(resource).get(key);
    if (!previous) return undefined;
    const revision = this.#revision + 1;
    this.#commit(revision, () => this.#remove.run(resource, key));
    this.#table(resource).delete(key);
    this.#sortedKeys.delete(resource);
    const object = freeze({ ...previous, metadata: { ...previous.metadata, resourceVersion: String(revision) } });
    this.#publish({ revision, resource, type: 'DELETED', object, previous });
    return object;
  }

  /** Changes after `revision`, oldest first; undefined if some of them are compacted. */
  changesSince(resource: string, revision: number): Change[] | undefined {
    if (revision < this.#compacted) return undefined;
    return this.#history.slice(this.#firstAfter(revision)).filter((change) => change.resource === resource);
  }

  /** Called synchronously after each change of the resource. `*` hears all. */
  subscribe(resource: string, listener: Listener): () => void {
    const listeners = this.#listeners.get(resource) ?? new Set();
    this.#listeners.set(resource, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** Forgets the history up to now: watches from earlier revisions get 410. */
  compact(): void {
    this.#history = [];
    this.#compacted = this.#revision;
  }

  close(): void {
    this.#database.close();
  }

  #table(resource: string): Map<string, ApiObject> {
    let table = this.#objects.get(resource);
    if (!table) {
      table = new Map();
      this.#objects.set(resource, table);
    }
    return table;
  }

  #commit(revision: number, write: () => void): void {
    this.#database.transaction(() => {
      write();
      this.#count.run(revision);
    })();
    this.#revision = revision;
  }

  #publish(change: Change): void {
    this.#history.push(change);
    // Dropped in blocks: shifting one by one would copy the array on every write.
    if (this.#history.length >= this.#historyMax * 2) {
      const dropped = this.#history.splice(0, this.#history.length - this.#historyMax);
      this.#compacted = dropped.at(-1)?.revision ?? this.#compacted;
    }
    for (const listener of [...(this.#listeners.get(change.resource) ?? []), ...(this.#listeners.get('*') ?? [])])
      listener(change);
  }

  /** Index in the history of the first change after `revision`, by bisection. */
  #firstAfter(revision: number): number {
    let low = 0;
    let high = this.#history.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#history[middle]?.revision ?? 0) <= revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const keyOf = (object: ApiObject): string => `${object.metadata.namespace ?? ''}/${object.metadata.name}`;

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) freeze(inner);
  }
  return value;
}
