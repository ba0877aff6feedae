/** The present as events: what an agent that starts now would hear, so that a log can be read from here. */
import type { ClusterEvent, LocalRestored } from '../cluster/events.ts';
import { type TableName, tableNames } from '../state/tables.ts';
import type { Engine } from './engine.ts';
import { restored } from './restored.ts';

interface Told {
  source: string;
  event: ClusterEvent;
}

/** Rows of one event: a line of a recording has a limit. */
const ROWS_MAX = 1_000;

export function* presentOf(engine: Pick<Engine, 'actual' | 'contexts' | 'heard'>): Generator<Told> {
  const rows = tableNames.flatMap((table) =>
    [...engine.actual(table)].map(([key, value]) => ({ table, key, value, op: '' })),
  );
  for (const table of tableNames) yield* observed(table, engine.actual(table));
  yield { source: 'dump', event: { type: 'source.synced', source: 'kernel' } };
  const heard = [...engine.heard()];
  const of = (...types: ClusterEvent['type'][]): ClusterEvent[] => heard.filter(({ type }) => types.includes(type));
  const synced = (isIt: (source: string) => boolean): Told[] =>
    heard.flatMap((event) =>
      event.type === 'source.synced' && isIt(event.source) ? [{ source: event.source.split('/')[0] ?? '', event }] : [],
    );
  for (const event of of('agent.started')) yield { source: 'agent', event };
  yield { source: 'local', event: { ...restored(rows), ...numbersOf(engine) } };
  yield* synced((source) => source === 'local');
  for (const event of of('wireguard.keyed', 'ipsec.keyed')) yield { source: 'keys', event };
  for (const event of of('link.upserted')) yield { source: 'links', event };
  yield* synced((source) => source === 'links');
  for (const event of of('kube.upserted')) yield { source: 'kube', event };
  yield* synced((source) => source !== 'local' && source !== 'links' && source !== 'kernel');
}

/** No op is under way, and no CNI request waits for its answer: of that an agent which starts now would know nothing. */
export function isCalm(engine: Pick<Engine, 'inFlight' | 'contexts'>): boolean {
  const isAsked = (context: unknown): boolean =>
    ((context as { requests?: readonly string[] }).requests ?? []).length > 0;
  return engine.inFlight === 0 && !engine.contexts('endpoint').some(isAsked);
}

/** Numbers that machines give depend on those that they gave. */
function numbersOf(engine: Pick<Engine, 'contexts'>): Pick<LocalRestored, 'nextAddress' | 'nextCidr'> {
  const [pool] = engine.contexts('ip-pool') as { cursor: number }[];
  const [policy] = engine.contexts('policy') as { nextCidr: number }[];
  return { ...(pool && { nextAddress: pool.cursor }), ...(policy && { nextCidr: policy.nextCidr }) };
}

function* observed(table: TableName, rows: ReadonlyMap<string, unknown>): Generator<Told> {
  const changes = [...rows].map(([key, value]) => ({ key, value }));
  for (let from = 0; from < changes.length; from += ROWS_MAX)
    yield {
      source: `dump/${table}`,
      event: { type: 'observed', table, changes: changes.slice(from, from + ROWS_MAX) },
    };
}
