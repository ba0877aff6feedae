/**
 * The tables of services: `bpf.backends`, `bpf.backend-sets`, `bpf.source-ranges` and `bpf.frontends`, which know each other by number.
 *
 * - Numbers are this driver's; a driver that starts finds them in the kernel, and their names in map `service_names`.
 * - A dump during which something was applied is read again, at last without a pause: half of it would name numbers that are gone.
 */
import { setImmediate } from 'node:timers/promises';
import type { BackendRow } from '../../state/tables.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { ServiceBackends } from './service-backends.ts';
import { ServiceFrontends } from './service-frontends.ts';
import { ServiceNames } from './service-names.ts';
import { ServiceSets } from './service-sets.ts';
import type { ServiceMaps, ServiceTable } from './service-table.ts';

/** Ops applied before the event loop gets a turn: some 10 ms. */
const CHUNK_OPS = 1024;
const DUMP_TRIES = 3;

const serviceTables = ['bpf.backends', 'bpf.backend-sets', 'bpf.source-ranges', 'bpf.frontends'] as const;
export type ServiceTableName = (typeof serviceTables)[number];

export interface ServicesOptions extends ServiceMaps {
  /** After backends have left the kernel: sockets that are connected to them must choose anew. */
  onBackendsGone(rows: readonly BackendRow[]): void;
}

export class ServicesDriver implements Driver {
  readonly tables = serviceTables;
  readonly lane = 'kernel';
  readonly #backends: ServiceBackends;
  readonly #sets: ServiceSets;
  readonly #frontends: ServiceFrontends;
  readonly #byName: Readonly<Record<ServiceTableName, ServiceTable>>;
  #isRecovered = false;
  /** Counts what changed the maps. */
  #changes = 0;

  constructor(options: ServicesOptions) {
    const names = new ServiceNames(options);
    this.#backends = new ServiceBackends(options, options.onBackendsGone);
    this.#sets = new ServiceSets(options, names, this.#backends);
    this.#frontends = new ServiceFrontends(options, names, this.#sets);
    this.#byName = {
      'bpf.backends': this.#backends,
      'bpf.backend-sets': this.#sets,
      'bpf.source-ranges': this.#frontends.ranges,
      'bpf.frontends': this.#frontends.frontends,
    };
  }

  /** Entries by map. */
  entries(): [map: string, count: number][] {
    this.#recover();
    return [
      ['backends', this.#backends.size],
      ['backend_sets', this.#sets.size],
      ['backend_slots', this.#sets.slots],
      ['source_ranges', this.#frontends.rangesCounted],
      ['frontends', this.#frontends.size],
    ];
  }

  apply(ops: readonly Op[]): OpResult[] | Promise<OpResult[]> {
    return ops.length <= CHUNK_OPS ? this.#apply(ops) : this.#applyInChunks(ops);
  }

  async #applyInChunks(ops: readonly Op[]): Promise<OpResult[]> {
    const results: OpResult[] = [];
    for (let at = 0; at < ops.length; at += CHUNK_OPS) {
      for (const result of this.#apply(ops.slice(at, at + CHUNK_OPS))) results.push(result);
      await setImmediate();
    }
    return results;
  }

  #apply(ops: readonly Op[]): OpResult[] {
    const [first] = ops;
    if (!first) return [];
    this.#recover();
    this.#changes++;
    return this.#table(first.table).apply(ops);
  }

  async dump(table: string, known: ReadonlyMap<string, unknown> = new Map()): Promise<Map<string, unknown>> {
    this.#recover();
    for (let tries = 1; ; tries++) {
      const changes = this.#changes;
      const reading = this.#table(table).read(known);
      let step = reading.next();
      for (; !step.done; step = reading.next()) if (tries < DUMP_TRIES) await setImmediate();
      if (changes !== this.#changes) continue;
      step.value.adopt();
      return step.value.rows;
    }
  }

  #table(name: string): ServiceTable {
    const table = this.#byName[name as ServiceTableName];
    if (!table) throw new Error(`table ${name} is none of services`);
    return table;
  }

  /** What an agent before this one left. */
  #recover(): void {
    if (this.#isRecovered) return;
    this.#isRecovered = true;
    for (const recovery of [this.#sets.recover(), this.#frontends.recover()]) drained(recovery);
    for (const table of serviceTables) drained(this.#byName[table].read(new Map())).adopt();
  }
}

function drained<R>(generator: Generator<void, R>): R {
  for (;;) {
    const step = generator.next();
    if (step.done) return step.value;
  }
}
