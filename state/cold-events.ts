/**
 * Events of objects that nobody asked for lately, on disk: every node hears of all pods of the cluster, and looks at them again only when
 * they change.
 *
 * - An event is known by the name of its object, and is under each of its topics with its seat in the order of what was heard there.
 * - The file is this run's alone: it is emptied at the start, and a crash loses what the API server tells anew.
 */
import { rmSync } from 'node:fs';
import Database from 'better-sqlite3';
import { Fingerprints } from './fingerprints.ts';

export interface ColdEvent {
  /** `resource/namespace/name` of the object. */
  fact: string;
  /** JSON. */
  text: string;
  seats: readonly Seat[];
}
export interface Seat {
  topic: string;
  seat: number;
}

/** Memory of SQLite for this file. */
const CACHE_KIB = 512;

/** All objects of a resource: these are found by their names, and need no list. */
const ALL = 'every/';
const isOfAll = (topic: string): boolean => topic.startsWith(ALL);

export class ColdEvents {
  readonly #db: Database.Database;
  readonly #path: string;
  readonly #known = new Fingerprints();
  /** How many are under a topic: of most topics none are, and they need not be looked for. */
  readonly #counts = new Map<string, number>();
  readonly #statements: ReturnType<typeof statementsOf>;
  readonly #putAll: (events: readonly ColdEvent[]) => void;
  readonly #take: (fact: string) => ColdEvent | undefined;

  /** `path` may be `:memory:`. */
  constructor(path: string) {
    this.#path = path;
    if (path !== ':memory:') rmSync(path, { force: true });
    this.#db = new Database(path);
    this.#db.pragma('journal_mode = MEMORY');
    this.#db.pragma('synchronous = OFF');
    this.#db.pragma('locking_mode = EXCLUSIVE');
    this.#db.pragma(`cache_size = ${-CACHE_KIB}`);
    this.#db.exec(
      `CREATE TABLE events (fact TEXT PRIMARY KEY, text TEXT NOT NULL, seats TEXT NOT NULL) WITHOUT ROWID;
       CREATE TABLE topics (topic TEXT NOT NULL, seat INTEGER NOT NULL, fact TEXT NOT NULL, PRIMARY KEY (topic, seat)) WITHOUT ROWID;`,
    );
    const statements = statementsOf(this.#db);
    this.#statements = statements;
    this.#putAll = this.#db.transaction((events: readonly ColdEvent[]) => {
      for (const { fact, text, seats } of events) {
        statements.put.run(fact, text, JSON.stringify(seats));
        for (const { topic, seat } of seats) if (!isOfAll(topic)) statements.sit.run(topic, seat, fact);
      }
    });
    this.#take = this.#db.transaction((fact: string) => {
      const found = statements.find.get(fact) as { text: string; seats: string } | undefined;
      if (!found) return undefined;
      const seats = JSON.parse(found.seats) as Seat[];
      for (const { topic, seat } of seats) if (!isOfAll(topic)) statements.stand.run(topic, seat);
      statements.forget.run(fact);
      return { fact, text: found.text, seats };
    });
  }

  get size(): number {
    return this.#known.size;
  }

  has(fact: string): boolean {
    return this.#known.size > 0 && this.#known.has(fact);
  }

  /** None of them is here yet. Throws when the disk is full, and then none is. */
  put(events: readonly ColdEvent[]): void {
    this.#putAll(events);
    for (const { fact, seats } of events) {
      this.#known.add(fact);
      for (const { topic } of seats) this.#count(topic, 1);
    }
  }

  /** It is here no longer. */
  take(fact: string): ColdEvent | undefined {
    const taken = this.#known.delete(fact) ? this.#take(fact) : undefined;
    for (const { topic } of taken?.seats ?? []) this.#count(topic, -1);
    return taken;
  }

  #count(topic: string, change: 1 | -1): void {
    const now = (this.#counts.get(topic) ?? 0) + change;
    if (now > 0) this.#counts.set(topic, now);
    else this.#counts.delete(topic);
  }

  of(topic: string): { seat: number; text: string }[] {
    if (!this.#counts.has(topic)) return [];
    if (!isOfAll(topic)) return this.#statements.of.all(topic) as { seat: number; text: string }[];
    const resource = topic.slice(ALL.length);
    const found = this.#statements.ofResource.all(`${resource}/`, `${resource}0`) as { text: string; seats: string }[];
    const seatIn = (seats: string): number =>
      (JSON.parse(seats) as Seat[]).find((one) => one.topic === topic)?.seat ?? 0;
    return found.map(({ text, seats }) => ({ text, seat: seatIn(seats) })).sort((a, b) => a.seat - b.seat);
  }

  /** Each once, with its first seat. */
  all(): { seat: number; text: string }[] {
    const found = this.#statements.all.all() as { text: string; seats: string }[];
    const first = (seats: string): number => Math.min(...(JSON.parse(seats) as Seat[]).map(({ seat }) => seat));
    return found.map(({ text, seats }) => ({ text, seat: first(seats) }));
  }

  close(): void {
    this.#db.close();
    if (this.#path !== ':memory:') rmSync(this.#path, { force: true });
  }
}

function statementsOf(db: Database.Database) {
  return {
    put: db.prepare('INSERT INTO events (fact, text, seats) VALUES (?, ?, ?)'),
    sit: db.prepare('INSERT INTO topics (topic, seat, fact) VALUES (?, ?, ?)'),
    find: db.prepare('SELECT text, seats FROM events WHERE fact = ?'),
    stand: db.prepare('DELETE FROM topics WHERE topic = ? AND seat = ?'),
    forget: db.prepare('DELETE FROM events WHERE fact = ?'),
    of: db.prepare('SELECT seat, text FROM topics JOIN events USING (fact) WHERE topic = ? ORDER BY seat'),
    ofResource: db.prepare('SELECT text, seats FROM events WHERE fact >= ? AND fact < ?'),
    all: db.prepare('SELECT text, seats FROM events'),
  };
}
