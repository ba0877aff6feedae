/** Map entries by endpoint and identity, and which directions an endpoint enforces: read from the state when they are asked for. */
import type { Enforcement, NamedPort, PolicyEntry } from './change.ts';
import type { Said } from './compile.ts';
import {
  type Contribution,
  cookieOf,
  DEFAULT_ALLOW_PRECEDENCE,
  isDenial,
  type Ruling,
  type Rulings,
  rulingsOf,
} from './entries.ts';
import { ALL_TRAFFIC, keysOf, type PortKey, portText } from './ports.ts';
import { type Direction, directions } from './rule.ts';
import { ANYBODY, type DirectionState, type PolicyState, type SubjectRecord } from './state.ts';

/** An endpoint without labels yet is closed, whatever the mode. */
const isUnlabelled = ({ subject }: SubjectRecord): boolean => subject.labels['reserved:init'] !== undefined;

export function isEnforced(state: PolicyState, record: SubjectRecord, direction: Direction): boolean {
  const { enforcement: mode } = state.tables.config;
  if (mode === 'never') return false;
  return mode === 'always' || isUnlabelled(record) || record[direction].rules > 0;
}

/** Every rule of it asked not to deny by default. */
export const allowsByDefault = (state: PolicyState, record: SubjectRecord, direction: Direction): boolean =>
  state.tables.config.enforcement === 'default' &&
  !isUnlabelled(record) &&
  record[direction].rules > 0 &&
  record[direction].denying === 0;

/** Of an endpoint that is not known: nothing is. */
export function enforcement(state: PolicyState, endpointId: number): Enforcement {
  const record = state.tables.subjects.get(endpointId);
  if (!record) return { ingress: false, egress: false };
  return { ingress: isEnforced(state, record, 'ingress'), egress: isEnforced(state, record, 'egress') };
}

/** Groups of the endpoint that may have entries, sorted; 0 is among them. */
export function identitiesOf(state: PolicyState, endpointId: number): number[] {
  const record = state.tables.subjects.get(endpointId);
  if (!record) return [];
  const identities = new Set([ANYBODY]);
  for (const direction of directions) {
    record[direction].bySelector.forEach((_, id) => {
      state.tables.selectors.get(id)?.matched.forEach((_true, identity) => identities.add(identity));
    });
  }
  return [...identities].sort((a, b) => a - b);
}

/** Entries of one group, in a fixed order: broad to narrow. */
export function entries(state: PolicyState, endpointId: number, identity: number): PolicyEntry[] {
  const found: PolicyEntry[] = [];
  for (const direction of directions)
    for (const part of groupOf(state, endpointId, direction, identity)?.parts ?? none)
      found.push(entryOf(direction, identity, part));
  return found;
}

/** How many `entries` there are. */
export function entryCount(state: PolicyState, endpointId: number, identity: number): number {
  let count = 0;
  for (const direction of directions) count += groupOf(state, endpointId, direction, identity)?.parts.length ?? 0;
  return count;
}

/** An entry but for where it goes. */
type Part = Omit<PolicyEntry, 'direction' | 'identity'>;

/** What one direction of an endpoint says of one identity, as rulings and as what entries are made of. */
export interface Group {
  rulings: Rulings;
  parts: readonly Part[];
}

/** Undefined: the direction is not enforced, or nobody knows the endpoint. One object as long as nothing changes. */
export function groupOf(
  state: PolicyState,
  endpointId: number,
  direction: Direction,
  identity: number,
): Group | undefined {
  const record = state.tables.subjects.get(endpointId);
  if (!record || !isEnforced(state, record, direction)) return undefined;
  return identity === ANYBODY
    ? forAnybody(record[direction], allowsByDefault(state, record, direction))
    : forIdentity(state, record[direction], identity);
}

export function entryOf(direction: Direction, identity: number, part: Part): PolicyEntry {
  const { protocol, port, deny, precedence, cookie, origins } = part;
  return { direction, identity, protocol, port, deny, precedence, cookie, origins };
}

/** What was worked out for a direction; it is true as long as the direction is that very object. */
interface Known {
  anybody?: Rulings;
  /** With the allowance of all, and without. */
  forAnybody: [Group | undefined, Group | undefined];
  /** By the selectors that match an identity, and its ports that are named; by what is said, if that is one thing alone. */
  bySelectors: Map<string | Said, Group>;
}
const known = new WeakMap<DirectionState, Known>();

function knownOf(direction: DirectionState): Known {
  let found = known.get(direction);
  if (!found) {
    found = { bySelectors: new Map(), forAnybody: [undefined, undefined] };
    known.set(direction, found);
  }
  return found;
}

export function rulingsForAnybody(direction: DirectionState): Rulings {
  const memo = knownOf(direction);
  memo.anybody ??= rulingsOf(direction.bySelector.get(ANYBODY) ?? []);
  return memo.anybody;
}

/** The allowance of all goes where nothing of the rules' own is as broad. */
function forAnybody(direction: DirectionState, allowsAll: boolean): Group {
  const memo = knownOf(direction).forAnybody;
  const known = memo[allowsAll ? 1 : 0];
  if (known) return known;
  const own = rulingsForAnybody(direction);
  const byDefault: Ruling = { precedence: DEFAULT_ALLOW_PRECEDENCE, origins: [] };
  const group = groupFrom(
    allowsAll && !own.has(ALL_TRAFFIC) ? new Map<PortKey, Ruling>([[ALL_TRAFFIC, byDefault], ...own]) : own,
  );
  memo[allowsAll ? 1 : 0] = group;
  return group;
}

const none: readonly Part[] = [];
const nothing: Group = { rulings: new Map(), parts: none };

function forIdentity(state: PolicyState, direction: DirectionState, identity: number): Group {
  const { bySelector } = direction;
  const record = bySelector.size > 0 ? state.tables.identities.get(identity) : undefined;
  if (!record) return nothing;
  const ids: number[] = [];
  for (const id of record.selectors) if (bySelector.has(id)) ids.push(id);
  if (ids.length === 0) return nothing;
  const said = new Set<Said>();
  for (const id of ids) for (const one of bySelector.get(id) ?? []) said.add(one);
  const { namedPorts = [] } = record.identity;
  const [only] = said;
  const isAlone = only !== undefined && said.size === 1 && (only.named.length === 0 || namedPorts.length === 0);
  const key = isAlone ? only : `${ids.join()}${namedPorts.length > 0 ? JSON.stringify(namedPorts) : ''}`;
  const { bySelectors } = knownOf(direction);
  let group = bySelectors.get(key);
  if (!group) {
    const local = [...said].map((one) => withPorts(one, namedPorts));
    group = groupFrom(rulingsOf(local, rulingsForAnybody(direction)));
    bySelectors.set(key, group);
  }
  return group;
}

export const groupFrom = (rulings: Rulings): Group => ({
  rulings,
  parts: [...rulings].map(([key, ruling]) => partOf(key, ruling)),
});

function withPorts(contribution: Said, namedPorts: readonly NamedPort[]): Contribution {
  const { named, keys } = contribution;
  if (named.length === 0) return contribution;
  return { ...contribution, keys: [...keys, ...named.flatMap((match) => keysOf(match, namedPorts))] };
}

const partOf = (key: PortKey, ruling: Ruling): Part => ({
  ...portText(key),
  deny: isDenial(ruling),
  precedence: ruling.precedence,
  cookie: cookieOf(ruling.origins),
  origins: ruling.origins,
});
