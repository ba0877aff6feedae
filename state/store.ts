/**
 * Actual rows in SQLite, and the allocations that must survive a restart.
 *
 * - A row is here if and only if an op on it was reported done, or a dump showed it.
 * - One event's changes are one transaction.
 * - What the log has gathered is moved into the database (a checkpoint: some milliseconds, and the disk's) when nothing has been written
 *   for a moment, not in the way of an event; the log's size is bounded all the same.
 */
import Database from 'better-sqlite3';
import { isTableName, type TableName } from './tables.ts';

export interface StoredRow {
  table: TableName;
  key: string;
  value: unknown;
  /** JSON of the op that made the row what it is, for `explain`; '' if a dump found it. */
  op: string;
}

/** A row as it was written. */
export interface WrittenRow {
  key: string;
  json: string;
  op: string;
}

export interface RowChange {
  table: TableName;
  key: string;
  /** Canonical JSON, or undefined to forget the row. */
  json: string | undefined;
  op: string;
}

/** Each statement migrates from the version before it; `PRAGMA user_version` is how many were run. */
const migrations: readonly string[] = [
  `CREATE TABLE rows (tbl TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, op TEXT NOT NULL, PRIMARY KEY (tbl, key)) WITHOUT ROWID;
   CREATE TABLE endpoint_ids (id INTEGER PRIMARY KEY, container TEXT NOT NULL UNIQUE);`,
];

/**
 * The oldest version whose statements still do what they should on this schema: kept as `PRAGMA application_id`, so that a downgrade finds
 * everything as it was. It rises only when something that was there means something else.
 */
const READABLE_BY = 1;

const ENDPOINT_ID_MAX = 65_535;
/** Of 4 KiB: beyond it a write does the checkpoint itself. */
const LOG_PAGES_MAX = 8_192;
/** Memory of SQLite; what better-sqlite3 would take is 16 MiB. */
const CACHE_KIB = 1_024;
const REST_MS = 100;
/** Rows written that are worth a checkpoint. */
const WORTH_ROWS = 500;

export class Store {
  readonly #db: Database.Database;
  readonly #put: Database.Statement;
  readonly #forget: Database.Statement;
  readonly #row: Database.Statement;
  readonly #writeAll: (changes: readonly RowChange[]) => void;
  #lastId: number;
  #rowsInLog = 0;
  #rest: NodeJS.Timeout | undefined;

  /** `path` may be `:memory:`. Throws if the file was written by a newer version that this one cannot read. */
  constructor(path: string) {
    this.#db = new Database(path);
    this.#db.pragma('journal_mode = WAL');
    this.#db.pragma('synchronous = NORMAL');
    this.#db.pragma(`cache_size = ${-CACHE_KIB}`);
    this.#db.pragma(`wal_autocheckpoint = ${LOG_PAGES_MAX}`);
    this.#migrate(path);
    this.#lastId = this.#db.prepare('SELECT COALESCE(MAX(id), 0) FROM endpoint_ids').pluck().get() as number;
    this.#put = this.#db.prepare('INSERT OR REPLACE INTO rows (tbl, key, value, op) VALUES (?, ?, ?, ?)');
    this.#forget = this.#db.prepare('DELETE FROM rows WHERE tbl = ? AND key = ?');
    this.#row = this.#db.prepare('SELECT key, value AS json, op FROM rows WHERE tbl = ? AND key = ?');
    this.#writeAll = this.#db.transaction((changes: readonly RowChange[]) => {
      for (const change of changes) this.#writeOne(change);
    });
  }

  #migrate(path: string): void {
    const version = this.#db.pragma('user_version', { simple: true }) as number;
    const readableBy = (this.#db.pragma('application_id', { simple: true }) as number) || version;
    if (version > migrations.length) {
      // After a downgrade: left as it is, for the upgrade that follows.
      if (readableBy <= migrations.length) return;
      throw new Error(
        `${path} has schema version ${version}, which version ${readableBy} and later read; this build knows ${migrations.length}: ` +
          'it was written by a newer axoneme; downgrade by one release at a time',
      );
    }
    this.#db.transaction(() => {
      for (const sql of migrations.slice(version)) this.#db.exec(sql);
      this.#db.pragma(`user_version = ${migrations.length}`);
      this.#db.pragma(`application_id = ${READABLE_BY}`);
    })();
  }

  rows(): StoredRow[] {
    const stored = this.#db.prepare('SELECT tbl, key, value, op FROM rows ORDER BY tbl, key').all() as {
      tbl: string;
      key: string;
      value: string;
      op: string;
    }[];
    return stored.flatMap(({ tbl, key, value, op }) =>
      isTableName(tbl) ? [{ table: tbl, key, value: JSON.parse(value) as unknown, op }] : [],
    );
  }

  row(table: TableName, key: string): WrittenRow | undefined {
    return this.#row.get(table, key) as WrittenRow | undefined;
  }

  rowsOf(table: TableName): WrittenRow[] {
    const all = this.#db.prepare('SELECT key, value AS json, op FROM rows WHERE tbl = ? ORDER BY key');
    return all.all(table) as WrittenRow[];
  }

  write(changes: readonly RowChange[]): void {
    const [first] = changes;
    if (!first) return;
    // One statement is a transaction of its own.
    if (changes.length === 1) this.#writeOne(first);
    else this.#writeAll(changes);
    this.#rowsInLog += changes.length;
    if (this.#rowsInLog < WORTH_ROWS) return;
    this.#rest ??= setTimeout(() => this.#checkpoint(), REST_MS).unref();
    this.#rest.refresh();
  }

  #writeOne({ table, key, json, op }: RowChange): void {
    if (json === undefined) this.#forget.run(table, key);
    else this.#put.run(table, key, json, op);
  }

  #checkpoint(): void {
    this.#rest = undefined;
    this.#rowsInLog = 0;
    this.#db.pragma('wal_checkpoint(PASSIVE)');
  }

  /**
   * The id of a container's interface, or the next free one after the last that was given; undefined when all are taken.
   * An id that is free again is given again only after all the others: rows of its last bearer may still be on their way out.
   */
  allocateEndpointId(container: string): number | undefined {
    const known = this.#db.prepare('SELECT id FROM endpoint_ids WHERE container = ?').pluck().get(container);
    if (known !== undefined) return known as number;
    const id = this.#freeIdAfter(this.#lastId) ?? this.#freeIdAfter(0);
    if (id === undefined) return undefined;
    this.#db.prepare('INSERT INTO endpoint_ids (id, container) VALUES (?, ?)').run(id, container);
    this.#lastId = id;
    return id;
  }

  #freeIdAfter(last: number): number | undefined {
    const free = this.#db
      .prepare(
        `SELECT :last + 1 AS id WHERE NOT EXISTS (SELECT 1 FROM endpoint_ids WHERE id = :last + 1)
         UNION SELECT a.id + 1 FROM endpoint_ids a LEFT JOIN endpoint_ids b ON b.id = a.id + 1
           WHERE a.id > :last AND b.id IS NULL ORDER BY id LIMIT 1`,
      )
      .pluck()
      .get({ last }) as number;
    return free <= ENDPOINT_ID_MAX ? free : undefined;
  }

  releaseEndpointId(container: string): void {
    this.#db.prepare('DELETE FROM endpoint_ids WHERE container = ?').run(container);
  }

  /** Containers' interfaces that have an id. */
  endpointIds(): ReadonlyMap<string, number> {
    const all = this.#db.prepare('SELECT container, id FROM endpoint_ids').all() as { container: string; id: number }[];
    return new Map(all.map(({ container, id }) => [container, id]));
  }

  close(): void {
    clearTimeout(this.#rest);
    this.#db.close();
  }
}
