/**
 * The rows of a big service in groups: one for the backends of each slice, one for each set, so that a changed slice
 * rewrites its own.
 *
 * - A service that has become big stays so: rows then never move between groups but by the rule below.
 * - No row is in two groups: of a backend that several slices name one has it, until it names it no more. The slice that
 *   changed comes first in `touched`, so that a row is given up before another slice takes it.
 */
import { backendsOf, type SliceFacts } from './service-slices.ts';

export interface Groups {
  isBig: boolean;
  /** Of backends that several slices name: the slice that has the row. */
  holders: Readonly<Record<string, string>>;
  touched: readonly string[];
}

type Slices = Readonly<Record<string, SliceFacts>>;
interface ChangedSlice {
  name: string;
  before: SliceFacts | undefined;
  after: SliceFacts | undefined;
}

export const ungrouped: Groups = { isBig: false, holders: {}, touched: [] };

/** A service of one full slice for each family is not big. */
const SLICES_MAX = 4;
const ENDPOINTS_MAX = 200;

const SLICE = 'slice/';
const SET = 'set/';
export const sliceIn = (group: string): string | undefined =>
  group.startsWith(SLICE) ? group.slice(SLICE.length) : undefined;
export const setIn = (group: string): string | undefined =>
  group.startsWith(SET) ? group.slice(SET.length) : undefined;

/** After a slice, or without one all of them, and these sets have changed, of a service that was big already or is now. */
export function regroup(
  groups: Groups,
  slices: Slices,
  changedSets: (wasBig: boolean) => string[],
  changed?: ChangedSlice,
): Groups {
  if (!groups.isBig && !isBig(slices)) return ungrouped;
  const setGroups = changedSets(groups.isBig).map((key) => `${SET}${key}`);
  if (groups.isBig && changed) {
    const { holders, takers } = passOn(groups.holders, slices, changed);
    return {
      isBig: true,
      holders,
      touched: [changed.name, ...takers].map((name) => `${SLICE}${name}`).concat(setGroups),
    };
  }
  const holders = groups.isBig ? groups.holders : holdersIn(slices);
  const names = Object.keys(slices).map((name) => `${SLICE}${name}`);
  return { isBig: true, holders, touched: [...names, ...setGroups] };
}

function isBig(slices: Slices): boolean {
  let count = 0;
  let sum = 0;
  for (const name in slices) {
    count++;
    sum += slices[name]?.endpoints.length ?? 0;
  }
  return count > SLICES_MAX || sum > ENDPOINTS_MAX;
}

function holdersIn(slices: Slices): Record<string, string> {
  const first = new Map<string, string>();
  const holders: Record<string, string> = {};
  for (const [name, slice] of Object.entries(slices)) {
    for (const key of backendsOf(slice).keys()) {
      const holder = first.get(key);
      if (holder === undefined) first.set(key, name);
      else holders[key] = holder;
    }
  }
  return holders;
}

/** Who has which row after a slice has changed; `takers` got rows from it. */
function passOn(
  before: Groups['holders'],
  slices: Slices,
  changed: ChangedSlice,
): { holders: Groups['holders']; takers: string[] } {
  const was = changed.before ? backendsOf(changed.before) : new Map();
  const is = changed.after ? backendsOf(changed.after) : new Map();
  const dropped = [...was.keys()].filter((key) => !is.has(key));
  const added = [...is.keys()].filter((key) => !was.has(key));
  const addresses = new Set(
    [...dropped.map((key) => was.get(key)), ...added.map((key) => is.get(key))].map((row) => row?.address),
  );
  const others = othersWith(slices, changed.name, addresses);
  const holders = { ...before };
  const takers = new Set<string>();
  for (const key of dropped) {
    const [heir, ...more] = others.get(key) ?? [];
    const holder = holders[key];
    if (heir === undefined || holder === undefined) continue;
    if (more.length === 0) delete holders[key];
    if (holder !== changed.name) continue;
    if (more.length > 0) holders[key] = heir;
    takers.add(heir);
  }
  for (const key of added) {
    const [holder] = others.get(key) ?? [];
    if (holder !== undefined) holders[key] ??= holder;
  }
  return { holders, takers: [...takers] };
}

/** Other slices by the backends at these addresses that they name. */
function othersWith(slices: Slices, name: string, addresses: ReadonlySet<string | undefined>): Map<string, string[]> {
  const found = new Map<string, string[]>();
  if (addresses.size === 0) return found;
  for (const [other, slice] of Object.entries(slices)) {
    if (other === name) continue;
    const endpoints = slice.endpoints.filter(({ address }) => addresses.has(address));
    if (endpoints.length === 0) continue;
    for (const key of backendsOf({ ...slice, endpoints }).keys()) found.set(key, [...(found.get(key) ?? []), other]);
  }
  return found;
}
