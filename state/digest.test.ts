/** The digest depends on what the rows are, and on nothing else. */
import { expect, it } from 'vitest';
import { digestOf } from './digest.ts';
import type { TableName } from './tables.ts';

type Rows = Partial<Record<TableName, [string, unknown][]>>;
const digest = (rows: Rows) => digestOf((table) => rows[table] ?? []);

it('is the same for the same rows in another order, with keys in another order', () => {
  const one = digest({
    timers: [
      ['a', { dueMs: 1, x: 2 }],
      ['b', { dueMs: 2 }],
    ],
  });
  const other = digest({
    timers: [
      ['b', { dueMs: 2 }],
      ['a', { x: 2, dueMs: 1 }],
    ],
  });
  expect(other).toEqual(one);
  expect(one.tables).toMatchObject({ timers: { rows: 2 } });
});

it('differs when a key, a value or the table differs', () => {
  const totals = [
    digest({}),
    digest({ timers: [['a', { dueMs: 1 }]] }),
    digest({ timers: [['b', { dueMs: 1 }]] }),
    digest({ timers: [['a', { dueMs: 2 }]] }),
    digest({ sysctls: [['a', { dueMs: 1 }]] }),
  ].map(({ total }) => total);
  expect(new Set(totals).size).toBe(totals.length);
});

it('cannot be fooled by a key that looks like the end of a line', () => {
  expect(
    digest({
      timers: [
        ['a', 1],
        ['b', 2],
      ],
    }).total,
  ).not.toBe(digest({ timers: [['a" 1\n"b', 2]] }).total);
});
