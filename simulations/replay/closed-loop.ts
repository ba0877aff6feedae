/**
 * What happened outside, played to an engine of today against a simulated kernel that does what it is told: for histories that have no
 * results of ops, or results of other ops than these.
 *
 * - Ops are done at once, in order. Timers fire when the time of the events has come to them.
 * - A label set that nobody brings a CiliumIdentity for gets one, numbered in the order of their coming.
 */
import type { ClusterEvent, LogEntry, OpDone } from '../../cluster/events.ts';
import { labelsKey } from '../../cluster/events.ts';
import type { RecordingHeader } from '../../cluster/recording-format.ts';
import type { Op } from '../../datapath/driver.ts';
import { kinds } from '../../machines/kinds.ts';
import { Engine } from '../../reconcilers/engine.ts';
import { type IdentityClaimRow, type TimerRow, tableNames, tables } from '../../state/tables.ts';
import { isKernelTable, SimulatedKernel } from '../kernel.ts';
import type { Watcher } from './moment.ts';
import { noStore } from './player.ts';

const IDENTITY_MIN = 256;

export interface Origin {
  file: string;
  line: number;
}
interface Queued {
  source: string;
  event: ClusterEvent;
}

export interface ClosedLoopOptions {
  watchers?: readonly Watcher[];
  /** How long after a claim an identity is made up when none has come; 0: at once. */
  identityGraceMs?: number;
}

export class ClosedLoop {
  readonly kernel = new SimulatedKernel({ anyNamespace: true });
  header: RecordingHeader;
  engine = new Engine(kinds, noStore);
  run = 0;
  seq = 0;
  ops = 0;
  entries = 0;
  at = 0;
  isStopped = false;
  readonly #watchers: readonly Watcher[];
  readonly #identityGraceMs: number;
  readonly #queue: Queued[] = [];
  /** When timers and made-up identities are due. */
  readonly #due = new Map<string, { at: number; event: () => Queued | undefined }>();
  #dueNext = Number.POSITIVE_INFINITY;
  /** Number of a label set. */
  readonly #identities = new Map<string, number>();
  #nextIdentity = IDENTITY_MIN;

  constructor(header: RecordingHeader, { watchers = [], identityGraceMs = 0 }: ClosedLoopOptions = {}) {
    this.header = header;
    this.#watchers = watchers;
    this.#identityGraceMs = identityGraceMs;
  }

  /** A life of the agent begins; what is in the kernel from before is found there. */
  begin(header: RecordingHeader, at: number, origin: Origin): void {
    const before = this.engine;
    this.header = header;
    this.run++;
    this.seq = 0;
    this.#due.clear();
    this.#dueNext = Number.POSITIVE_INFINITY;
    if (this.run > 1) this.engine = new Engine(kinds, noStore);
    for (const watcher of this.#watchers) watcher.onRun?.(this.run, header, this.engine);
    if (this.run === 1) return;
    for (const table of tableNames) {
      if (!tables[table].durable) continue;
      const rows = isKernelTable(table) ? this.kernel.dump(table, before.actual(table)) : before.actual(table);
      const changes = [...rows].map(([key, value]) => ({ key, value }));
      if (changes.length > 0) this.push(`dump/${table}`, { type: 'observed', table, changes }, at, origin);
    }
  }

  /** Takes an event, and all that follows from it, to the end. */
  push(source: string, event: ClusterEvent, at: number, origin: Origin): void {
    if (event.type === 'kube.upserted' && event.resource === 'ciliumidentities') this.learnIdentity(event.object);
    if (this.#watchers.some((watcher) => watcher.before?.(this.run, this.seq + 1, at) === 'stop'))
      this.isStopped = true;
    if (this.isStopped) return;
    this.#wait(at, origin);
    this.#take({ source, event }, origin);
  }

  /** Time goes on to there. */
  #wait(at: number, origin: Origin): void {
    while (this.#dueNext <= at && !this.isStopped) {
      const [key, next] = [...this.#due].reduce((a, b) => (b[1].at < a[1].at ? b : a));
      this.#due.delete(key);
      this.at = Math.max(this.at, next.at);
      const queued = next.event();
      if (queued) this.#take(queued, origin);
      this.#dueNext = Math.min(...[...this.#due.values()].map((due) => due.at));
    }
    this.at = Math.max(this.at, at);
  }

  #take(first: Queued, origin: Origin): void {
    this.#queue.push(first);
    for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
      if (this.isStopped) {
        this.#queue.length = 0;
        return;
      }
      const entry: LogEntry = { seq: ++this.seq, at: this.at, ...next };
      this.entries++;
      if (next.event.type === 'link.upserted') this.kernel.addLink(next.event.link.name);
      if (next.event.type === 'link.deleted') this.kernel.removeLink(next.event.name);
      const steps = this.engine.step(entry);
      const { run, seq, header, engine, kernel } = this;
      for (const { table, ops } of steps) {
        this.ops += ops.length;
        const results = ops.map((op) => this.#apply(op));
        this.#queue.push({ source: `driver/${table}`, event: { type: 'ops.done', results } });
      }
      for (const watcher of this.#watchers)
        if (watcher.onMoment({ run, seq, header, entry, ...origin, steps, engine, kernel }) === 'stop')
          this.isStopped = true;
    }
  }

  #apply(op: Op): OpDone {
    const { table, key, action, revision } = op;
    if (table === 'identity.claims' && action === 'put') this.#claim((op.value as IdentityClaimRow).labels);
    if (table === 'timers') this.#timer(op);
    const [error] = isKernelTable(table) ? this.kernel.apply([op]) : [undefined];
    return { table, key, action, revision, ...(error && { error }) };
  }

  #timer({ key, action, value }: Op): void {
    const name = `timer ${key}`;
    this.#due.delete(name);
    if (action === 'put')
      this.#schedule(name, (value as TimerRow).dueMs, () => ({
        source: 'timers',
        event: { type: 'timer.fired', key },
      }));
  }

  #schedule(name: string, at: number, event: () => Queued | undefined): void {
    this.#due.set(name, { at, event });
    this.#dueNext = Math.min(this.#dueNext, at);
  }

  learnIdentity(object: { metadata: { name: string }; [field: string]: unknown }): void {
    const labels = (object['security-labels'] ?? {}) as Record<string, string>;
    const number = Number(object.metadata.name);
    if (!Number.isSafeInteger(number)) return;
    this.#identities.set(labelsKey(labels), number);
    this.#nextIdentity = Math.max(this.#nextIdentity, number + 1);
  }

  #claim(labels: Readonly<Record<string, string>>): void {
    const key = labelsKey(labels);
    const made = (): Queued | undefined => {
      if (this.#identities.has(key)) return undefined;
      const object = this.identityObject(labels);
      return { source: 'kube', event: { type: 'kube.upserted', resource: 'ciliumidentities', object } };
    };
    if (this.#identityGraceMs > 0) this.#schedule(`identity ${key}`, this.at + this.#identityGraceMs, made);
    else {
      const queued = made();
      if (queued) this.#queue.push(queued);
    }
  }

  /** Of a label set that has none yet. */
  identityObject(labels: Readonly<Record<string, string>>): {
    apiVersion: string;
    kind: string;
    metadata: { name: string };
  } {
    const number = this.#nextIdentity++;
    this.#identities.set(labelsKey(labels), number);
    const metadata = { name: String(number) };
    return { apiVersion: 'cilium.io/v2', kind: 'CiliumIdentity', metadata, ['security-labels' as string]: labels };
  }

  numberOf(labels: Readonly<Record<string, string>>): number | undefined {
    return this.#identities.get(labelsKey(labels));
  }
}
