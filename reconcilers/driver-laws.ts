/**
 * The laws of `datapath/driver.ts` as one test suite, which every driver passes: of the real kernel and of the simulated.
 *
 * - Each test has a fresh world, so nothing depends on what another test left.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Driver, Op, OpResult } from '../datapath/driver.ts';
import type { TableName } from '../state/tables.ts';

export interface SampleRow {
  table: TableName;
  key: string;
  value: unknown;
  /** Another value under the same key. */
  changed?: unknown;
}

/** Something in the world that looks like a row of the table and is not ours. */
export interface Stranger {
  table: TableName;
  key: string;
  /** What a put under that key would want. */
  value: unknown;
  make(): void;
  /** As it was made. */
  isUntouched(): boolean;
}

export interface DriverWorld {
  driver: Driver;
  /** Rows that can be put into this world in this order; at least two of each table. */
  samples: readonly SampleRow[];
  /** Rows that the world must refuse. */
  impossible?: readonly SampleRow[];
  strangers?: readonly Stranger[];
  /** What is the same for as long as the object is not made anew: a link's number, a program's id. */
  identityOf?(row: SampleRow): unknown;
  dispose(): void | Promise<void>;
}

type Known = ReadonlyMap<string, unknown>;

export function driverLaws(name: string, makeWorld: () => DriverWorld | Promise<DriverWorld>): void {
  describe(`driver ${name}`, () => {
    let world: DriverWorld;

    beforeEach(async () => {
      world = await makeWorld();
    });
    afterEach(async () => {
      await world.dispose();
    });

    const tablesOf = (rows: readonly SampleRow[]): TableName[] => [...new Set(rows.map(({ table }) => table))];
    const samplesOf = (table: TableName): SampleRow[] => world.samples.filter((row) => row.table === table);
    const dump = async (table: TableName, known: Known): Promise<Map<string, unknown> | undefined> =>
      (await world.driver.dump?.(table, known)) ?? undefined;
    const knownOf = (rows: readonly SampleRow[]): Map<string, unknown> =>
      new Map(rows.map(({ key, value }) => [key, value]));

    async function apply(action: 'put' | 'delete', rows: readonly SampleRow[]): Promise<OpResult[]> {
      const results: OpResult[] = [];
      for (const table of tablesOf(rows)) {
        const ops = rows.filter((row) => row.table === table).map((row): Op => opOf(action, row));
        results.push(...(await world.driver.apply(ops)));
      }
      return results;
    }
    async function putAll(): Promise<void> {
      expect(await apply('put', world.samples)).toEqual(world.samples.map(() => undefined));
    }

    test('says of which tables it is, and has samples of each', () => {
      expect([...world.driver.tables].sort()).toEqual(tablesOf(world.samples).sort());
    });

    test('what was put is dumped with an equal value', async () => {
      await putAll();
      for (const table of world.driver.tables) {
        const rows = knownOf(samplesOf(table));
        const there = await dump(table, rows);
        if (there) expect(Object.fromEntries(there), table).toEqual(Object.fromEntries(rows));
      }
    });

    test('what is believed and not there is not dumped', async () => {
      for (const table of world.driver.tables) {
        // A setting of the kernel is always there.
        if (table === 'sysctls') continue;
        const there = await dump(table, knownOf(samplesOf(table)));
        if (there) expect(there.size, table).toBe(0);
      }
    });

    test('put is idempotent, and leaves what is right alone', async () => {
      await putAll();
      const before = world.samples.map((row) => world.identityOf?.(row));
      await putAll();
      expect(world.samples.map((row) => world.identityOf?.(row))).toEqual(before);
    });

    test('put of another value changes the row in place', async () => {
      await putAll();
      const changed = world.samples
        .filter((row) => row.changed !== undefined)
        .map((row) => ({ ...row, value: row.changed }));
      const before = changed.map((row) => world.identityOf?.(row));
      expect(await apply('put', changed)).toEqual(changed.map(() => undefined));
      expect(changed.map((row) => world.identityOf?.(row))).toEqual(before);
      for (const table of tablesOf(changed)) {
        const rows = knownOf([...samplesOf(table), ...changed.filter((row) => row.table === table)]);
        const there = await dump(table, knownOf(samplesOf(table)));
        if (there) expect(Object.fromEntries(there), table).toEqual(Object.fromEntries(rows));
      }
    });

    test('delete takes away what was put and nothing else', async () => {
      await putAll();
      for (const table of [...world.driver.tables].reverse()) {
        if (table === 'sysctls') continue;
        const [first, ...rest] = samplesOf(table);
        expect(await apply('delete', [first as SampleRow])).toEqual([undefined]);
        const there = await dump(table, knownOf(samplesOf(table)));
        if (there) expect([...there.keys()].sort(), table).toEqual(rest.map(({ key }) => key).sort());
      }
    });

    test('deleting what is absent succeeds', async () => {
      const rows = [...world.samples].reverse();
      expect(await apply('delete', rows)).toEqual(rows.map(() => undefined));
      await putAll();
      expect(await apply('delete', rows)).toEqual(rows.map(() => undefined));
      expect(await apply('delete', rows)).toEqual(rows.map(() => undefined));
    });

    test('a failed op changes nothing and says what failed, on which object, and whether to retry', async () => {
      await putAll();
      for (const row of world.impossible ?? []) {
        const rows = knownOf(samplesOf(row.table));
        const before = await dump(row.table, rows);
        const [result] = await apply('put', [row]);
        expect(result, `put ${row.table} ${row.key} fails`).toBeDefined();
        expect(result?.message).toContain(row.key);
        expect(result?.errno).toMatch(/^E[A-Z0-9]+$/);
        expect(typeof result?.retryable).toBe('boolean');
        expect(await dump(row.table, rows)).toEqual(before);
      }
    });

    test('results come in the order of the ops, and one failure does not stop the others', async () => {
      await putAll();
      for (const bad of world.impossible ?? []) {
        const [first, second] = samplesOf(bad.table);
        const ops = [first as SampleRow, bad, second as SampleRow].map((row) => opOf('put', row));
        const results = await world.driver.apply(ops);
        expect(
          results.map((result) => result === undefined),
          `${bad.table} ${bad.key}`,
        ).toEqual([true, false, true]);
      }
    });

    test('what is not ours is neither dumped nor touched', async () => {
      for (const stranger of world.strangers ?? []) {
        stranger.make();
        const there = await dump(stranger.table, new Map());
        if (there) expect([...there.keys()], stranger.table).not.toContain(stranger.key);
        const [refused] = await apply('put', [stranger]);
        expect(refused, `put over a stranger ${stranger.key}`).toBeDefined();
        expect(refused?.retryable).toBe(false);
        expect(stranger.isUntouched(), `${stranger.key} after put`).toBe(true);
        expect(await apply('delete', [stranger])).toEqual([undefined]);
        expect(stranger.isUntouched(), `${stranger.key} after delete`).toBe(true);
      }
    });

    test('no ops, no results', async () => {
      expect(await world.driver.apply([])).toEqual([]);
    });
  });
}

function opOf(action: 'put' | 'delete', { table, key, value }: SampleRow): Op {
  return {
    table,
    action,
    key,
    value: action === 'put' ? value : undefined,
    before: undefined,
    revision: 1,
    owners: ['test'],
  };
}
