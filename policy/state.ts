/**
 * All that policy resolution knows, as a value: its inputs, and the indexes over them.
 *
 * - `PolicyState` never changes. A `Draft` is a state in the making; only `apply` makes one, and ends it as a new state.
 * - JSON holds the inputs alone; the indexes are built anew from them.
 */
import type { CidrGroup, Identity, PolicyInputs, ResolverConfig, ServiceFact, Subject } from './change.ts';
import type { CompiledPolicy, Said } from './compile.ts';
import { Edit, PersistentMap } from './persistent-map.ts';
import type { Names, Prepared, Selector } from './selectors.ts';

/** Contributions of rules for anybody are kept under this number in place of a selector's. */
export const ANYBODY = 0;

/** One direction of one subject: what the policies that select it say. Replaced by every change. */
export interface DirectionState {
  /** Rules with a section for this direction, and how many of them deny by default. */
  rules: number;
  denying: number;
  bySelector: PersistentMap<number, readonly Said[]>;
}

export interface SubjectRecord {
  subject: Subject;
  prepared: Prepared;
  ingress: DirectionState;
  egress: DirectionState;
}

export interface IdentityRecord {
  identity: Identity;
  prepared: Prepared;
  /** Numbers of `SelectorRecord`s that match it, ascending. */
  selectors: readonly number[];
}

/** A selector that some subject's policies use. */
export interface SelectorRecord {
  id: number;
  text: string;
  selector: Selector;
  /** Endpoint ids, with how many contributions each. */
  users: PersistentMap<number, number>;
  /** Identities that it selects. */
  matched: PersistentMap<number, true>;
}

export interface Tables {
  config: ResolverConfig;
  policies: PersistentMap<string, CompiledPolicy>;
  /** Keys of policies by the namespace of their subjects; under `` those for all. */
  policiesByNamespace: PersistentMap<string, PersistentMap<string, true>>;
  /** Keys of policies that name groups or services. */
  naming: PersistentMap<string, true>;
  subjects: PersistentMap<number, SubjectRecord>;
  groups: PersistentMap<string, CidrGroup>;
  services: PersistentMap<string, ServiceFact>;
  identities: PersistentMap<number, IdentityRecord>;
  identitiesByAnchor: PersistentMap<string, PersistentMap<number, true>>;
  selectors: PersistentMap<number, SelectorRecord>;
  selectorIds: PersistentMap<string, number>;
  selectorsByAnchor: PersistentMap<string, readonly number[]>;
  /** By family and length of prefix: how many selectors of CIDRs are like that. */
  cidrLengths: PersistentMap<number, number>;
  /** CIDRs that selectors name, and how many do. */
  prefixes: PersistentMap<string, number>;
  nextSelector: number;
}

export class PolicyState {
  readonly tables: Readonly<Tables>;
  constructor(tables: Readonly<Tables>) {
    this.tables = tables;
  }

  toJSON(): PolicyInputs {
    const { config, policies, identities, subjects, groups, services } = this.tables;
    return {
      config,
      policies: sorted(policies, ({ policy }) => policy),
      identities: sorted(identities, ({ identity }) => identity),
      subjects: sorted(subjects, ({ subject }) => subject),
      groups: sorted(groups, (group) => group),
      services: sorted(services, (service) => service),
    };
  }
}

function sorted<K extends string | number, V, R>(map: PersistentMap<K, V>, pick: (value: V) => R): R[] {
  const entries = [...map.entries()];
  return entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, value]) => pick(value));
}

export interface Draft extends Tables {
  before: PolicyState;
  edit: Edit;
  /** Selectors whose contributions may have changed, by endpoint id and direction. */
  changedSelectors: Map<number, { ingress: Set<number>; egress: Set<number> }>;
  changedIdentities: Set<number>;
  /** That came, went or were replaced. */
  changedSubjects: Set<number>;
  changedPrefixes: Set<string>;
}

export const draftOf = (before: PolicyState): Draft => ({
  ...before.tables,
  before,
  edit: new Edit(),
  changedSelectors: new Map(),
  changedIdentities: new Set(),
  changedSubjects: new Set(),
  changedPrefixes: new Set(),
});

export function finished(draft: Draft): PolicyState {
  const { before, edit, changedSelectors, changedIdentities, changedSubjects, changedPrefixes, ...tables } = draft;
  return new PolicyState(tables);
}

export function emptyPolicyState(config: ResolverConfig): PolicyState {
  return new PolicyState({
    config,
    policies: PersistentMap.empty(),
    policiesByNamespace: PersistentMap.empty(),
    naming: PersistentMap.empty(),
    subjects: PersistentMap.empty(),
    groups: PersistentMap.empty(),
    services: PersistentMap.empty(),
    identities: PersistentMap.empty(),
    identitiesByAnchor: PersistentMap.empty(),
    selectors: PersistentMap.empty(),
    selectorIds: PersistentMap.empty(),
    selectorsByAnchor: PersistentMap.empty(),
    cidrLengths: PersistentMap.empty(),
    prefixes: PersistentMap.empty(),
    nextSelector: ANYBODY + 1,
  });
}

/** In a map of sets: the set with this member. */
export function withMember<K extends string | number, M extends string | number>(
  map: PersistentMap<K, PersistentMap<M, true>>,
  key: K,
  member: M,
  edit: Edit,
): PersistentMap<K, PersistentMap<M, true>> {
  return map.set(key, (map.get(key) ?? PersistentMap.empty<M, true>()).set(member, true, edit), edit);
}

export function withoutMember<K extends string | number, M extends string | number>(
  map: PersistentMap<K, PersistentMap<M, true>>,
  key: K,
  member: M,
  edit: Edit,
): PersistentMap<K, PersistentMap<M, true>> {
  const rest = map.get(key)?.delete(member, edit);
  if (rest === undefined) return map;
  return rest.size > 0 ? map.set(key, rest, edit) : map.delete(key, edit);
}

/** The map with a number raised or lowered by one; at 0 it goes. */
export function counted<K extends string | number>(
  map: PersistentMap<K, number>,
  key: K,
  by: 1 | -1,
  edit: Edit,
): PersistentMap<K, number> {
  const count = (map.get(key) ?? 0) + by;
  return count > 0 ? map.set(key, count, edit) : map.delete(key, edit);
}

/** Listed only when a peer asks for them. */
export const namesOf = ({ groups, services }: Pick<Tables, 'groups' | 'services'>): Names => ({
  groups: { [Symbol.iterator]: () => groups.values().values() },
  services: { [Symbol.iterator]: () => services.values().values() },
});
