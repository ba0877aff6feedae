/**
 * Table `bpf.backend-sets`: maps `backend_sets`, `backend_slots`, `affinity_matches` and `maglev`.
 *
 * - Every moment of a change is good for packets: matches and the slots beyond the count first, then the Maglev table in one swap, then slots
 *   that change in place, then count, sizes and times in one write, and only then what is no longer counted.
 * - A change costs in proportion to itself: a backend that replaces another is one write, one more is two, one less is three.
 * - What fails half-way is taken back: nobody sees slots beyond the count.
 */
import type { BpfMap } from '../../native/index.ts';
import type { BackendSetRow } from '../../state/tables.ts';
import type { Op, OpResult } from '../driver.ts';
import { maglevTable } from '../maglev.ts';
import { Numbers } from '../numbers.ts';
import { deleteEntries, type Entry, putEntries } from './map-entries.ts';
import type { ServiceBackends } from './service-backends.ts';
import { setBytes, swapTables } from './service-maglev.ts';
import { nameKinds, type ServiceNames } from './service-names.ts';
import {
  hasTable,
  inKnownOrder,
  type Kept,
  keptOf,
  placed,
  type SetValue,
  sameTable,
  sameValue,
  setValue,
} from './service-slots.ts';
import {
  type Found,
  Missing,
  NumberedMap,
  planned,
  type ServiceMaps,
  type ServiceTable,
  unnamed,
  unnamedNumber,
} from './service-table.ts';

interface Slot {
  set: number;
  slot: number;
}
interface Match {
  set: number;
  backend: number;
}
interface Plan {
  at: number;
  op: Op;
  id: number;
  before: Kept | undefined;
  after: Kept;
  /** Names of `after.slots`; what Maglev shuffles. */
  backends: readonly string[];
}
type Deletion = Omit<Entry, 'value'>;

export class ServiceSets implements ServiceTable {
  readonly #sets: NumberedMap<number, SetValue>;
  readonly #slots: NumberedMap<Slot, number>;
  readonly #matches: NumberedMap<Match, number>;
  readonly #maglev: BpfMap;
  readonly #names: ServiceNames;
  readonly #backends: ServiceBackends;
  readonly #numbers = new Numbers();
  readonly #kept = new Map<number, Kept>();
  #slotsCounted = 0;

  constructor(maps: ServiceMaps, names: ServiceNames, backends: ServiceBackends) {
    this.#sets = new NumberedMap(maps, 'backend_sets');
    this.#slots = new NumberedMap(maps, 'backend_slots');
    this.#matches = new NumberedMap(maps, 'affinity_matches');
    this.#maglev = maps.maps('maglev');
    this.#names = names;
    this.#backends = backends;
  }

  get size(): number {
    return this.#kept.size;
  }
  get slots(): number {
    return this.#slotsCounted;
  }

  /** 0 for none. */
  numberOf(key: string): number | undefined {
    if (key === '') return 0;
    const number = this.#numbers.of(key);
    return number !== undefined && this.#kept.has(number) ? number : undefined;
  }

  nameOf(number: number): string {
    return number === 0 ? '' : (this.#numbers.nameOf(number) ?? unnamed(number));
  }

  apply(ops: readonly Op[]): OpResult[] {
    const results: OpResult[] = ops.map(() => undefined);
    if (ops[0]?.action === 'put') this.#put(ops, results);
    else this.#delete(ops, results);
    return results;
  }

  #put(ops: readonly Op[], results: OpResult[]): void {
    const plans = planned(ops, results, (op, at) => this.#plan(op, at));
    const put = ({ map, name }: { map: BpfMap; name: string }, entries: (plan: Plan) => Entry[]): void =>
      putEntries(map, name, plans.flatMap(entries), results);
    put(this.#names.map, ({ at, op, id, before }) =>
      before ? [] : [this.#names.entry(at, op, nameKinds.set, id, op.key)],
    );
    put(this.#matches, (plan) => this.#newMatches(plan));
    put(this.#slots, (plan) => this.#slotEntries(plan, 'beyond'));
    this.#swapTables(plans, results);
    put(this.#slots, (plan) => this.#slotEntries(plan, 'within'));
    put(this.#sets, ({ at, op, id, before, after }) =>
      before && sameValue(before, after) ? [] : [this.#sets.entry(at, op, id, setValue(after))],
    );
    for (const plan of plans) if (results[plan.at]) this.#takeBack(plan);
    const done = plans.filter(({ at }) => !results[at]);
    this.#clear(done, results);
    for (const { id, before, after } of done) {
      this.#slotsCounted += after.slots.length - (before?.slots.length ?? 0);
      this.#kept.set(id, after);
    }
  }

  #plan(op: Op, at: number): Plan {
    const { backends, maglevSize, affinityTimeout } = op.value as BackendSetRow;
    const numbers = backends.map((backend) => {
      const number = this.#backends.numberOf(backend);
      if (number === undefined) throw new Missing(`backend ${backend}`);
      return number;
    });
    if (maglevSize !== 0) maglevTable([], maglevSize); // is it a size at all?
    const known = this.#numbers.of(op.key);
    const before = known === undefined ? undefined : this.#kept.get(known);
    const after = { slots: placed(before?.slots ?? [], numbers), maglevSize, affinityTimeout };
    this.#sets.valueOf(setValue(after));
    this.#names.entry(at, op, nameKinds.set, 0, op.key);
    return { at, op, id: known ?? this.#numbers.take(op.key), before, after, backends };
  }

  /** What is no longer counted. */
  #clear(plans: readonly Plan[], results: OpResult[]): void {
    const slots = plans.flatMap((plan) => this.#slotsAfter(plan, plan.after.slots.length));
    deleteEntries(this.#slots.map, slots, results);
    const matches = plans.flatMap((plan) => this.#oldMatches(plan));
    deleteEntries(this.#matches.map, matches, results);
    const tables = plans.filter(({ before, after }) => before && hasTable(before) && !hasTable(after));
    deleteEntries(
      this.#maglev,
      tables.map(({ at, op, id }) => ({ at, op, key: setBytes(id) })),
      results,
    );
  }

  #newMatches({ at, op, id, before, after }: Plan): Entry[] {
    if (after.affinityTimeout === 0) return [];
    const matched = new Set(before && before.affinityTimeout > 0 ? before.slots : []);
    return after.slots
      .filter((backend) => !matched.has(backend))
      .map((backend) => this.#matches.entry(at, op, { set: id, backend }, 1));
  }

  #oldMatches({ at, op, id, before, after }: Plan): Deletion[] {
    if (!before || before.affinityTimeout === 0) return [];
    const kept = new Set(after.affinityTimeout > 0 ? after.slots : []);
    return before.slots
      .filter((backend) => backend !== 0 && !kept.has(backend))
      .map((backend) => ({ at, op, key: this.#matches.keyOf({ set: id, backend }) }));
  }

  /** Slots that are not yet counted, or those that are. */
  #slotEntries({ at, op, id, before, after }: Plan, which: 'beyond' | 'within'): Entry[] {
    const slots = before?.slots ?? [];
    const made: Entry[] = [];
    after.slots.forEach((backend, slot) => {
      if (slot >= slots.length === (which === 'beyond') && slots[slot] !== backend)
        made.push(this.#slots.entry(at, op, { set: id, slot }, backend));
    });
    return made;
  }

  /** Slots that were there, from one on. */
  #slotsAfter({ at, op, id, before }: Plan, from: number): Deletion[] {
    const made: Deletion[] = [];
    for (let slot = from; slot < (before?.slots.length ?? 0); slot++)
      made.push({ at, op, key: this.#slots.keyOf({ set: id, slot }) });
    return made;
  }

  /** Before slots change. */
  #swapTables(plans: readonly Plan[], results: OpResult[]): void {
    const changed = plans
      .filter(({ before, after }) => hasTable(after) && !(before && sameTable(before, after)))
      .map(({ at, op, id, backends, after }) => {
        const numbers = backends.map((name) => this.#backends.numberOf(name) ?? 0);
        return { at, op, set: id, backends, numbers, size: after.maglevSize };
      });
    swapTables(this.#maglev, changed, results);
  }

  /** Of an op that failed: nothing of it stays. */
  #takeBack(plan: Plan): void {
    const { at, op, id, before, after } = plan;
    const ignored: OpResult[] = [];
    const matches = this.#newMatches(plan).map(({ key }) => ({ at, op, key }));
    if (before) {
      const changed = this.#slotEntries({ ...plan, before: after, after: before }, 'within');
      putEntries(this.#slots.map, this.#slots.name, changed, ignored);
      // Its table may be the new one: the next put makes one anew.
      this.#kept.set(id, { ...before, maglevSize: 0 });
    }
    const beyond = { ...plan, before: after };
    deleteEntries(this.#slots.map, this.#slotsAfter(beyond, before?.slots.length ?? 0), ignored);
    deleteEntries(this.#matches.map, matches, ignored);
    if (before) return;
    if (hasTable(after)) this.#maglev.delete(setBytes(id));
    this.#forget(op.key, id);
  }

  #forget(key: string, id: number): void {
    this.#kept.delete(id);
    this.#names.map.map.delete(this.#names.keyOf(nameKinds.set, id));
    this.#numbers.release(key);
  }

  #delete(ops: readonly Op[], results: OpResult[]): void {
    const plans = planned(ops, results, (op, at): Plan | undefined => {
      const id = unnamedNumber(op.key) ?? this.#numbers.of(op.key);
      if (id === undefined) return undefined;
      const before = this.#kept.get(id);
      return { at, op, id, before, after: { slots: [], maglevSize: 0, affinityTimeout: 0 }, backends: [] };
    });
    const keys = plans.map(({ at, op, id }) => ({ at, op, key: this.#sets.keyOf(id) }));
    deleteEntries(this.#sets.map, keys, results);
    const done = plans.filter(({ at }) => !results[at]);
    this.#clear(done, results);
    for (const { op, id, before } of done) {
      this.#slotsCounted -= before?.slots.length ?? 0;
      this.#forget(op.key, id);
    }
  }

  *read(known: ReadonlyMap<string, unknown>): Generator<void, Found> {
    const sets = new Map<number, { value: SetValue; slots: number[]; matches: Set<number> }>();
    yield* this.#sets.each((id, value) => void sets.set(id, { value, slots: [], matches: new Set() }));
    const stale: { map: BpfMap; key: Buffer }[] = [];
    yield* this.#slots.each((key, backend) => {
      const set = sets.get(key.set);
      if (set && key.slot < set.value.count) set.slots[key.slot] = backend;
      else stale.push({ map: this.#slots.map, key: this.#slots.keyOf(key) });
    });
    yield* this.#matches.each((key) => {
      const set = sets.get(key.set);
      if (set?.value.affinityTimeout && set.slots.includes(key.backend)) set.matches.add(key.backend);
      else stale.push({ map: this.#matches.map, key: this.#matches.keyOf(key) });
    });
    const tables = new Set<number>();
    for (const key of this.#maglev.keys()) {
      const id = key.readUInt32LE(0);
      if (sets.get(id)?.value.maglevSize) tables.add(id);
      else stale.push({ map: this.#maglev, key: Buffer.from(key) });
    }
    const found = new Map<number, Kept>();
    const rows = new Map<string, unknown>();
    for (const [id, { value, slots, matches }] of sets) {
      const kept = keptOf(value, slots, matches, tables.has(id));
      found.set(id, kept);
      const key = this.nameOf(id);
      const backends = kept.slots.filter((number) => number !== 0).map((number) => this.#backends.nameOf(number));
      rows.set(key, {
        backends: inKnownOrder(backends, (known.get(key) as BackendSetRow | undefined)?.backends),
        maglevSize: kept.maglevSize,
        affinityTimeout: kept.affinityTimeout,
      } satisfies BackendSetRow);
    }
    return { rows, adopt: () => this.#adopt(found, stale) };
  }

  #adopt(found: ReadonlyMap<number, Kept>, stale: readonly { map: BpfMap; key: Buffer }[]): void {
    this.#kept.clear();
    this.#slotsCounted = 0;
    for (const [id, kept] of found) {
      this.#kept.set(id, kept);
      this.#slotsCounted += kept.slots.length;
      if (this.#numbers.nameOf(id) === undefined) this.#numbers.learn(unnamed(id), id);
    }
    for (const { map, key } of stale) map.delete(key);
  }

  /** At the start: what the numbers stand for; names of numbers that are gone go. */
  *recover(): Generator<void, void> {
    const names = yield* this.#names.read(nameKinds.set);
    const ids = new Set<number>();
    yield* this.#sets.each((id) => void ids.add(id));
    for (const [id, name] of names) {
      if (ids.has(id)) this.#numbers.learn(name, id);
      else this.#names.map.map.delete(this.#names.keyOf(nameKinds.set, id));
    }
  }
}
