/**
 * BPF maps of policy and services in the simulated kernel.
 *
 * - An entry of a policy map lives and goes with its map.
 * - Sets name backends, and frontends name sets, by numbers underneath: a number is never used twice, and where it names nothing any
 *   more the row reads `#12`, as links do.
 * - Maps outlive every agent; what is full refuses what is new and takes another value for what is in.
 */
import type { BackendSetRow, FrontendRow, PolicyMapRow, TableName } from '../state/tables.ts';
import { tables } from '../state/tables.ts';

export const mapTables = [
  'bpf.policy-maps',
  'bpf.policy',
  'bpf.backends',
  'bpf.backend-sets',
  'bpf.source-ranges',
  'bpf.frontends',
] as const;
export type MapTable = (typeof mapTables)[number];
export const isMapTable = (table: string): table is MapTable => (mapTables as readonly string[]).includes(table);

/** Rows with a number of their own. */
class Numbered<R> {
  readonly rows = new Map<string, { row: R; number: number }>();
  readonly #names = new Map<number, string>();
  #last = 0;

  put(key: string, row: R): void {
    const number = this.rows.get(key)?.number ?? ++this.#last;
    this.rows.set(key, { row, number });
    this.#names.set(number, key);
  }

  delete(key: string): void {
    const number = this.rows.get(key)?.number;
    if (number !== undefined) this.#names.delete(number);
    this.rows.delete(key);
  }

  /** `#12` is the number 12, whether anything has it or not; the empty name is none. */
  numberOf(key: string): number | undefined {
    if (key === '') return 0;
    const known = this.rows.get(key)?.number;
    if (known !== undefined) return known;
    const dangling = /^#([1-9]\d*)$/.exec(key)?.[1];
    return dangling === undefined ? undefined : Number(dangling);
  }

  nameOf(number: number): string {
    return number === 0 ? '' : (this.#names.get(number) ?? `#${number}`);
  }
}

interface SetEntry {
  row: BackendSetRow;
  backends: number[];
}
interface FrontendEntry {
  row: FrontendRow;
  internal: number;
  external: number;
}
interface PolicyMap {
  row: PolicyMapRow;
  entries: Map<string, unknown>;
}

export class KernelMaps {
  readonly #capacities: Partial<Record<TableName, number>>;
  readonly #policies = new Map<string, PolicyMap>();
  readonly #backends = new Numbered<unknown>();
  readonly #sets = new Numbered<SetEntry>();
  readonly #frontends = new Map<string, FrontendEntry>();
  readonly #ranges = new Map<string, unknown>();

  constructor(capacities: Partial<Record<TableName, number>> = {}) {
    this.#capacities = capacities;
  }

  dump(table: MapTable): Map<string, unknown> {
    switch (table) {
      case 'bpf.policy-maps':
        return new Map([...this.#policies].map(([key, { row }]) => [key, row]));
      case 'bpf.policy':
        return new Map([...this.#policies.values()].flatMap(({ entries }) => [...entries]));
      case 'bpf.backends':
        return new Map([...this.#backends.rows].map(([key, { row }]) => [key, row]));
      case 'bpf.backend-sets':
        return new Map([...this.#sets.rows].map(([key, { row }]) => [key, this.#namedSet(row)]));
      case 'bpf.source-ranges':
        return new Map(this.#ranges);
      case 'bpf.frontends':
        return new Map([...this.#frontends].map(([key, entry]) => [key, this.#namedFrontend(entry)]));
    }
  }

  /** `value` undefined: delete. Returns the errno of a refusal. */
  change(table: MapTable, key: string, value: unknown): string | undefined {
    switch (table) {
      case 'bpf.policy-maps':
        return this.#changePolicyMap(key, value as PolicyMapRow | undefined);
      case 'bpf.policy':
        return this.#changePolicy(key, value);
      case 'bpf.backends':
        if (value === undefined) return void this.#backends.delete(key);
        if (this.#isFull(table, this.#backends.rows, key)) return 'E2BIG';
        return void this.#backends.put(key, value);
      case 'bpf.backend-sets':
        return this.#changeSet(key, value as BackendSetRow | undefined);
      case 'bpf.source-ranges':
        if (value === undefined) return void this.#ranges.delete(key);
        if (this.#isFull(table, this.#ranges, key)) return 'ENOSPC';
        return void this.#ranges.set(key, value);
      case 'bpf.frontends':
        return this.#changeFrontend(key, value as FrontendRow | undefined);
    }
  }

  /** What the row refers to is taken to be there, as when it was observed elsewhere. */
  suppose(table: MapTable, key: string, value: unknown): void {
    const missing = { backends: [], maglevSize: 0, affinityTimeout: 0 } satisfies BackendSetRow;
    if (table === 'bpf.policy' && !this.#policies.has(endpointOf(key)))
      this.change('bpf.policy-maps', endpointOf(key), { entriesMax: tables['bpf.policy'].map?.entriesMax ?? 0 });
    if (table === 'bpf.backend-sets') {
      for (const name of (value as BackendSetRow).backends)
        if (this.#backends.numberOf(name) === undefined) this.#backends.put(name, {});
    }
    if (table === 'bpf.frontends') {
      const { internalSet, externalSet } = value as FrontendRow;
      for (const name of [internalSet, externalSet])
        if (this.#sets.numberOf(name) === undefined) this.#sets.put(name, { row: missing, backends: [] });
    }
  }

  #changePolicyMap(key: string, row: PolicyMapRow | undefined): string | undefined {
    if (row === undefined) return void this.#policies.delete(key);
    if (this.#isFull('bpf.policy-maps', this.#policies, key)) return 'E2BIG';
    const entries = this.#policies.get(key)?.entries ?? new Map<string, unknown>();
    // Another size is another map; the entries are copied into it.
    if (entries.size > row.entriesMax) return 'ENOSPC';
    return void this.#policies.set(key, { row, entries });
  }

  #changePolicy(key: string, value: unknown): string | undefined {
    const map = this.#policies.get(endpointOf(key));
    if (value === undefined) return void map?.entries.delete(key);
    if (!map) return 'ENOENT';
    if (map.entries.size >= map.row.entriesMax && !map.entries.has(key)) return 'ENOSPC';
    return void map.entries.set(key, value);
  }

  #changeSet(key: string, row: BackendSetRow | undefined): string | undefined {
    if (row === undefined) return void this.#sets.delete(key);
    if (this.#isFull('bpf.backend-sets', this.#sets.rows, key)) return 'E2BIG';
    const backends = row.backends.map((name) => this.#backends.numberOf(name));
    if (!backends.every((number) => number !== undefined)) return 'ENOENT';
    return void this.#sets.put(key, { row, backends });
  }

  #changeFrontend(key: string, row: FrontendRow | undefined): string | undefined {
    if (row === undefined) return void this.#frontends.delete(key);
    if (this.#isFull('bpf.frontends', this.#frontends, key)) return 'E2BIG';
    const internal = this.#sets.numberOf(row.internalSet);
    const external = this.#sets.numberOf(row.externalSet);
    if (internal === undefined || external === undefined) return 'ENOENT';
    return void this.#frontends.set(key, { row, internal, external });
  }

  #namedSet({ row, backends }: SetEntry): BackendSetRow {
    return { ...row, backends: backends.map((number) => this.#backends.nameOf(number)) };
  }

  #namedFrontend({ row, internal, external }: FrontendEntry): FrontendRow {
    return { ...row, internalSet: this.#sets.nameOf(internal), externalSet: this.#sets.nameOf(external) };
  }

  #isFull(table: MapTable, rows: ReadonlyMap<string, unknown>, key: string): boolean {
    const max = this.#capacities[table] ?? tables[table].map?.entriesMax;
    return max !== undefined && rows.size >= max && !rows.has(key);
  }
}

/** The policy map that an entry's key names. */
const endpointOf = (key: string): string => key.slice(0, key.indexOf('|'));
