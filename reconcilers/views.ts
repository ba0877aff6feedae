/** Machines and rows as the engine shows them to whoever looks. */
import type { MachineView, RowView } from './inspect.ts';
import { type Machine, nameOf } from './population.ts';
import { decided, type RowEntry, type RowIndex, stateOf } from './rows.ts';

export function rowsOf(machine: Machine, rows: Pick<RowIndex, 'peek'>): RowEntry[] {
  const { key, kind, snapshot } = machine;
  const { named } = kind.groups ?? {};
  const listed = [...machine.groups.values()].flat();
  if (!named) return [...machine.rows, ...(listed as RowEntry[])];
  const names = [...listed, ...[...named.groups(snapshot)].flatMap((group) => named.rows(group) ?? [])];
  const there = names.flatMap((name) => rows.peek(name.table, name.key) ?? []);
  return [...machine.rows, ...there.filter(({ wants }) => wants.has(key))];
}

export function viewOf(
  machine: Machine,
  rows: () => readonly RowEntry[],
  heldBack: ReadonlySet<RowEntry>,
): MachineView {
  const last = machine.history.at(-1);
  return {
    key: machine.key,
    kind: machine.kind.name,
    state: nameOf(machine.snapshot),
    context: machine.snapshot.context,
    topics: [...machine.topics],
    /** Looked up when asked for: of many nodes' pods they are on disk. */
    get rows() {
      return rows().map((entry) => ({
        table: entry.table,
        key: entry.key,
        state: stateOf(entry, heldBack.has(entry)),
      }));
    },
    ...(last && { last }),
  };
}

export function rowViewOf(entry: RowEntry, heldBack: ReadonlySet<RowEntry>): RowView {
  const chosen = decided(entry);
  const others = entry.wants
    .keys()
    .filter((key) => key !== chosen?.owner)
    .sort();
  const losers = others.filter((key) => entry.wants.get(key)?.json !== chosen?.want.json);
  return {
    table: entry.table,
    key: entry.key,
    ...(chosen && { desired: chosen.want.value }),
    ...(entry.actualJson !== undefined && { actual: entry.actual }),
    owners: chosen ? [chosen.owner, ...others] : [],
    ...(losers.length > 0 && { contested: losers }),
    revision: entry.revision,
    state: stateOf(entry, heldBack.has(entry)),
    ...(entry.error && { error: entry.error }),
  };
}
