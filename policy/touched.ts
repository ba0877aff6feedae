/** Which groups of entries differ between a state and the one that an apply made of it: found from what the apply noted, not by comparing all. */
import { canonical } from '../state/tables.ts';
import type { Touched } from './change.ts';
import { isSameSaid } from './compile.ts';
import { allowsByDefault, identitiesOf, isEnforced, rulingsForAnybody } from './groups.ts';
import { covers, type PortKey } from './ports.ts';
import { type Direction, directions } from './rule.ts';
import { ANYBODY, type DirectionState, type Draft, type PolicyState, type SubjectRecord } from './state.ts';

class Groups {
  readonly found = new Map<number, Set<number>>();

  add(endpointId: number, identity: number): void {
    const group = this.found.get(endpointId);
    if (group) group.add(identity);
    else this.found.set(endpointId, new Set([identity]));
  }
}

export function touchedBy(draft: Draft, after: PolicyState): Touched {
  const { before } = draft;
  const groups = new Groups();
  const enforcement = new Set<number>();
  const isAll = canonical(before.tables.config) !== canonical(after.tables.config);
  const endpoints = isAll
    ? new Set([...before.tables.subjects.keys(), ...after.tables.subjects.keys(), ...draft.changedSelectors.keys()])
    : new Set([...draft.changedSelectors.keys(), ...draft.changedSubjects]);
  for (const endpointId of endpoints) {
    const [old, young] = [before, after].map(({ tables }) => tables.subjects.get(endpointId));
    if (!old && !young) continue;
    if (isAll || !old || !young || old.prepared !== young.prepared) {
      enforcement.add(endpointId);
      for (const state of [before, after])
        for (const identity of identitiesOf(state, endpointId)) groups.add(endpointId, identity);
      continue;
    }
    for (const direction of directions) {
      const isNew = isEnforced(before, old, direction) !== isEnforced(after, young, direction);
      if (isNew) enforcement.add(endpointId);
      const ids = draft.changedSelectors.get(endpointId)?.[direction] ?? [];
      touchDirection({ before, after, old, young, direction, groups, ids });
    }
  }
  touchIdentities(draft, after, groups);
  const changed = [...draft.changedPrefixes].sort();
  const needed = (state: PolicyState, cidr: string) => state.tables.prefixes.has(cidr);
  return {
    enforcement: [...enforcement].sort((a, b) => a - b),
    groups: groups.found,
    prefixesAdded: changed.filter((cidr) => needed(after, cidr) && !needed(before, cidr)),
    prefixesRemoved: changed.filter((cidr) => needed(before, cidr) && !needed(after, cidr)),
  };
}

interface DirectionChange {
  before: PolicyState;
  after: PolicyState;
  old: SubjectRecord;
  young: SubjectRecord;
  direction: Direction;
  groups: Groups;
  /** Selectors whose contributions may have changed. */
  ids: Iterable<number>;
}

function touchDirection({ before, after, old, young, direction, groups, ids }: DirectionChange): void {
  const { endpointId } = young.subject;
  const touchMatched = (id: number) => {
    for (const { tables } of [before, after])
      tables.selectors.get(id)?.matched.forEach((_, identity) => groups.add(endpointId, identity));
  };
  const isOther = isEnforced(before, old, direction) !== isEnforced(after, young, direction);
  if (isOther || allowsByDefault(before, old, direction) !== allowsByDefault(after, young, direction))
    groups.add(endpointId, ANYBODY);
  for (const id of ids) {
    const lists = [old, young].map((record) => record[direction].bySelector.get(id));
    if (lists[0] === lists[1] || isSameSaid(lists[0] ?? [], lists[1] ?? [])) continue;
    if (id !== ANYBODY) touchMatched(id);
    else touchAnybody(old[direction], young[direction], () => groups.add(endpointId, ANYBODY), touchMatched);
  }
}

/** Entries for anybody decide which entries for one identity are left out: those that a changed one covers are looked at again. */
function touchAnybody(
  old: DirectionState,
  young: DirectionState,
  touchGroup: () => void,
  touchMatched: (id: number) => void,
): void {
  const [was, is] = [rulingsForAnybody(old), rulingsForAnybody(young)];
  const changed: PortKey[] = [];
  for (const key of new Set([...was.keys(), ...is.keys()])) {
    const [a, b] = [was.get(key), is.get(key)];
    if (a?.precedence !== b?.precedence) changed.push(key);
    if (a?.precedence !== b?.precedence || a?.origins.join() !== b?.origins.join()) touchGroup();
  }
  if (changed.length === 0) return;
  young.bySelector.forEach((contributions, id) => {
    const isCovered = (key: PortKey) => changed.some((wide) => covers(wide, key));
    if (id !== ANYBODY && contributions.some(({ keys, named }) => named.length > 0 || keys.some(isCovered)))
      touchMatched(id);
  });
}

/** Endpoints that use a selector which an identity is newly among, or no longer. */
function touchIdentities({ before, changedIdentities }: Draft, after: PolicyState, groups: Groups): void {
  for (const identity of changedIdentities) {
    const [old, young] = [before, after].map(({ tables }) => tables.identities.get(identity));
    const samePorts = canonical(old?.identity.namedPorts ?? []) === canonical(young?.identity.namedPorts ?? []);
    const touchUsers = (state: PolicyState, id: number) =>
      state.tables.selectors.get(id)?.users.forEach((_, endpointId) => groups.add(endpointId, identity));
    for (const id of old?.selectors ?? []) if (!samePorts || !young?.selectors.includes(id)) touchUsers(before, id);
    for (const id of young?.selectors ?? []) if (!samePorts || !old?.selectors.includes(id)) touchUsers(after, id);
  }
}
