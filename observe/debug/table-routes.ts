/** Tables: what is wanted, what is believed, what the kernel has, and why. */
import type { Explanation } from '../../reconcilers/inspect.ts';
import { isTableName, type TableName, tableNames, tables } from '../../state/tables.ts';
import { nearest } from '../nearest.ts';
import { choiceOf, json, Refusal, type Route } from './http.ts';
import type { DebugSources } from './sources.ts';

const views = ['all', 'desired', 'actual', 'kernel'] as const;

export interface TableSummary {
  table: TableName;
  doc: string;
  rank: number;
  lane: string;
  rows: number;
  states: Record<string, number>;
  capacity?: number;
}

/** A row as desired, as believed and as found; a field that is absent says that there is no such row. */
export interface TableRow {
  table: TableName;
  key: string;
  /** `RowState`, or `unknown`: the kernel has it, and the engine does not know of it. */
  state: string;
  owners: string[];
  desired?: unknown;
  actual?: unknown;
  kernel?: unknown;
  error?: unknown;
}

export interface ExplainView extends Explanation {
  /** Absent: the kernel has no such row. */
  kernel?: unknown;
}

function tableNamed(name: string): TableName {
  if (isTableName(name)) return name;
  throw new Refusal(404, `no table is named ${name}`, `one of ${tableNames.join(', ')}`, nearest(name, tableNames));
}

export function tableRoutes(sources: DebugSources): Route[] {
  const { inspector, kernelRows } = sources;
  return [
    {
      pattern: '/v1/tables',
      doc: 'tables and how many of their rows are in which state',
      answer: () => json(tableNames.map((table) => summaryOf(sources, table))),
    },
    {
      pattern: '/v1/tables/*',
      doc: `rows of a table; ?view=${views.join('|')}`,
      async answer({ rest, params }) {
        const table = tableNamed(rest);
        const view = choiceOf(params, 'view', views, 'all');
        return json({ table, view, rows: await rowsOf(sources, table, view) });
      },
    },
    {
      pattern: '/v1/explain/*',
      doc: 'TABLE/KEY: why a row is there: event, machine and transition, row, op',
      async answer({ rest }) {
        const slash = rest.indexOf('/');
        if (slash < 1 || slash === rest.length - 1) throw new Refusal(400, `explain ${rest}`, 'TABLE/KEY');
        const table = tableNamed(rest.slice(0, slash));
        const key = rest.slice(slash + 1);
        const [explanation, kernel] = [inspector.explain(table, key), await kernelRows(table)];
        if (!explanation && !kernel.has(key)) {
          const known = new Set([...inspector.rows(table).map((row) => row.key), ...kernel.keys()]);
          const near = nearest(key, known);
          const expected =
            known.size === 0
              ? `a row of ${table}, which has none now`
              : `a key of ${table}, which has ${known.size} rows`;
          throw new Refusal(404, `table ${table} has no row ${key}`, expected, near);
        }
        const row = explanation ?? { row: { table, key, owners: [], revision: 0, state: 'orphan' as const } };
        return json({ ...row, ...(kernel.has(key) && { kernel: kernel.get(key) }) } satisfies ExplainView);
      },
    },
  ];
}

function summaryOf({ inspector }: DebugSources, table: TableName): TableSummary {
  const rows = inspector.rows(table);
  const states: Record<string, number> = {};
  for (const { state } of rows) states[state] = (states[state] ?? 0) + 1;
  const { doc, rank, lane, map } = tables[table];
  return { table, doc, rank, lane, rows: rows.length, states, ...(map && { capacity: map.entriesMax }) };
}

async function rowsOf(sources: DebugSources, table: TableName, view: (typeof views)[number]): Promise<TableRow[]> {
  const kernel = view === 'all' || view === 'kernel' ? await sources.kernelRows(table) : new Map<string, unknown>();
  const known = sources.inspector.rows(table);
  const keys = new Set(known.map(({ key }) => key));
  const rows: TableRow[] = [
    ...known.map(({ revision: _, ...row }) => ({
      ...row,
      ...(kernel.has(row.key) && { kernel: kernel.get(row.key) }),
    })),
    ...[...kernel]
      .filter(([key]) => !keys.has(key))
      .map(([key, value]) => ({ table, key, state: 'unknown', owners: [], kernel: value })),
  ];
  const shown = rows.filter((row) => view === 'all' || row[view] !== undefined);
  return shown.sort((a, b) => (a.key < b.key ? -1 : 1)).map((row) => (view === 'all' ? row : only(row, view)));
}

function only(
  { table, key, state, owners, error, ...values }: TableRow,
  view: 'desired' | 'actual' | 'kernel',
): TableRow {
  return { table, key, state, owners, [view]: values[view], ...(error !== undefined && { error }) };
}
