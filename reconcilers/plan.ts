/**
 * The order of ops: every prefix of a plan is safe.
 *
 * - Puts go first, up the ranks: what is referred to exists before what refers to it.
 * - Deletes follow, down the ranks: what refers goes before what it refers to.
 * - Within a rank the order is by table, the table's own `within`, and key, so that a plan is the same on every run.
 */
import type { Op } from '../datapath/driver.ts';
import { type TableName, tables } from '../state/tables.ts';

/** Ops of one table and one action, applied together. */
export interface Step {
  table: TableName;
  action: Op['action'];
  ops: Op[];
}

const AFTER_ALL_PUTS = 1_000_000;

function order({ table, action }: Op): number {
  const { rank, deleteRank = rank } = tables[table];
  return action === 'put' ? rank : AFTER_ALL_PUTS - deleteRank;
}

/** The order inside a table: by the value that is put, or that is there when it is deleted. */
function within({ table, action, value, before }: Op): number {
  const place = tables[table].within;
  if (!place) return 0;
  return action === 'put' ? place(value) : -place(before);
}

const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export function plan(ops: readonly Op[]): Step[] {
  if (ops.length === 0) return [];
  const sorted = [...ops].sort(
    (a, b) => order(a) - order(b) || byName(a.table, b.table) || within(a) - within(b) || byName(a.key, b.key),
  );
  const steps: Step[] = [];
  for (const op of sorted) {
    const last = steps.at(-1);
    if (last && last.table === op.table && last.action === op.action) last.ops.push(op);
    else steps.push({ table: op.table, action: op.action, ops: [op] });
  }
  return steps;
}
