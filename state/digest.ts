/** One number for all rows: equal tables have equal digests, wherever they were computed. */
import { createHash } from 'node:crypto';
import { canonical, type TableName, tableNames } from './tables.ts';

export interface Digest {
  /** SHA-256 over the tables that have rows. */
  total: string;
  tables: Partial<Record<TableName, { rows: number; sha256: string }>>;
}

/** `rowsOf` gives key and value of each row of a table, in any order. */
export function digestOf(rowsOf: (table: TableName) => Iterable<readonly [key: string, value: unknown]>): Digest {
  const total = createHash('sha256');
  const digest: Digest = { total: '', tables: {} };
  for (const table of [...tableNames].sort()) {
    const lines = [...rowsOf(table)].map(([key, value]) => `${JSON.stringify(key)} ${canonical(value)}\n`).sort();
    if (lines.length === 0) continue;
    const hash = createHash('sha256');
    for (const line of lines) hash.update(line);
    const sha256 = hash.digest('hex');
    digest.tables[table] = { rows: lines.length, sha256 };
    total.update(`${table} ${sha256}\n`);
  }
  digest.total = total.digest('hex');
  return digest;
}
