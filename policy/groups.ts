/** Map entries by endpoint and identity, and which directions an endpoint enforces: read from the state when they are asked for. */
import type { Enforcement, NamedPort, PolicyEntry } from './change.ts';
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
import { ANYBODY, type DirectionState, type LocalContribution, type PolicyState, type SubjectRecord } from './state.ts';

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
  const record = state.tables.subjects.get(endpointId);
  if (!record) return [];
  return directions.flatMap((direction) => {
    if (!isEnforced(state, record, direction)) return [];
    const rulings =
      identity === ANYBODY
        ? withDefault(rulingsForAnybody(record[direction]), allowsByDefault(state, record, direction))
        : rulingsFor(state, record[direction], identity);
    return [...rulings].map(([key, ruling]) => entryOf(direction, identity, key, ruling));
  });
}

/** The allowance of all goes where nothing of the rules' own is as broad. */
function withDefault(rulings: Rulings, allows: boolean): Rulings {
  if (!allows || rulings.has(ALL_TRAFFIC)) return rulings;
  return new Map([[ALL_TRAFFIC, { precedence: DEFAULT_ALLOW_PRECEDENCE, origins: [] }], ...rulings]);
}

/** What was worked out for a direction; it is true as long as the direction is that very object. */
interface Known {
  anybody?: Rulings;
  /** By the selectors that match an identity, and its ports that are named. */
  bySelectors: Map<string, Rulings>;
}
const known = new WeakMap<DirectionState, Known>();

function knownOf(direction: DirectionState): Known {
  let found = known.get(direction);
  if (!found) {
    found = { bySelectors: new Map() };
    known.set(direction, found);
  }
  return found;
}

export function rulingsForAnybody(direction: DirectionState): Rulings {
  const memo = knownOf(direction);
  memo.anybody ??= rulingsOf(direction.bySelector.get(ANYBODY) ?? []);
  return memo.anybody;
}

function rulingsFor(state: PolicyState, direction: DirectionState, identity: number): Rulings {
  const record = state.tables.identities.get(identity);
  if (!record || direction.bySelector.size === 0) return new Map();
  const selectors = record.selectors.filter((id) => direction.bySelector.has(id)).sort((a, b) => a - b);
  if (selectors.length === 0) return new Map();
  const contributions = selectors.flatMap((id) => direction.bySelector.get(id) ?? []);
  const { namedPorts = [] } = record.identity;
  const usesNames = namedPorts.length > 0 && contributions.some(({ named }) => named.length > 0);
  const text = `${selectors.join()}${usesNames ? JSON.stringify(namedPorts) : ''}`;
  const { bySelectors } = knownOf(direction);
  let rulings = bySelectors.get(text);
  if (!rulings) {
    const local = contributions.map((contribution) => withPorts(contribution, namedPorts));
    rulings = rulingsOf(local, rulingsForAnybody(direction));
    bySelectors.set(text, rulings);
  }
  return rulings;
}

function withPorts(contribution: LocalContribution, namedPorts: readonly NamedPort[]): Contribution {
  const { named, keys } = contribution;
  if (named.length === 0) return contribution;
  return { ...contribution, keys: [...keys, ...named.flatMap((match) => keysOf(match, namedPorts))] };
}

const entryOf = (direction: Direction, identity: number, key: PortKey, ruling: Ruling): PolicyEntry => ({
  direction,
  identity,
  ...portText(key),
  deny: isDenial(ruling),
  precedence: ruling.precedence,
  cookie: cookieOf(ruling.origins),
  origins: ruling.origins,
});
