/**
 * What the policy machine knows. All of it is JSON, but for the resolver's state and the objects, which turn into JSON and come back from it.
 *
 * - Contexts are values: a change makes a new one and leaves the old alone.
 */
import type { AgentFacts } from '../cluster/events.ts';
import type { Change, PolicyInputs } from '../policy/change.ts';
import { emptyPolicyState, PolicyState, revive } from '../policy/resolver.ts';
import type { Policy } from '../policy/rule.ts';
import type { LocalPolicyRow } from '../state/tables.ts';
import { type Backoff, calm } from './backoff.ts';
import { reservedIdentities } from './identity.ts';
import type { SubjectFact } from './policy-facts.ts';
import { PolicyObjects } from './policy-object-map.ts';

export const policyMachineKey = 'policy';

/** The host is an endpoint too; numbers of pods' endpoints have 16 bits. */
export const HOST_ENDPOINT = 65_536;

/** One policy object as this node sees it. */
export interface PolicyObject {
  resource: string;
  apiVersion: string;
  kind: string;
  namespace: string;
  name: string;
  generation: number;
  /** Canonical text of what is judged, so that a change of its status is none. */
  text: string;
  /** What is wrong with the object as it is; empty: it is in force. */
  problems: readonly string[];
  /** What of it waits for L7. */
  needsL7: readonly string[];
  /** When it became valid, or invalid. */
  sinceMs: number;
  /** In force instead of an object that is not valid; undefined: no version of it was ever valid here. */
  lastValid: Policy | undefined;
}

export interface InForce {
  ingress: boolean;
  egress: boolean;
}

export interface PolicyContext {
  agent: AgentFacts;
  state: PolicyState | PolicyInputs;
  /** Sources whose first list is complete. */
  synced: readonly string[];
  /** Everything has been listed, and policy is in force. */
  known: boolean;
  /** Changes that wait, in blocks: for the first lists, or for the identities of their CIDRs to be in the maps. */
  waiting: readonly (readonly Change[])[];
  /** Identities of CIDRs. */
  cidrs: Readonly<Record<string, number>>;
  nextCidr: number;
  /** CIDRs that no policy names any more; their identities go when the entries for them are gone. */
  retired: readonly string[];
  /** By machine that publishes them. */
  subjects: Readonly<Record<string, SubjectFact>>;
  /** Identities that subjects have and whose object is gone. */
  orphaned: readonly number[];
  objects: PolicyObjects | Readonly<Record<string, PolicyObject>>;
  /** Policies in force that name services. */
  namingServices: number;
  /** From the life before this one: of objects that were not valid. */
  remembered: Readonly<Record<string, Policy>>;
  /** By endpoint: what programs are told to enforce. */
  inForce: Readonly<Record<string, InForce>>;
  /** By endpoint: entries that its policies come to. */
  entriesWanted: Readonly<Record<string, number>>;
  /** By endpoint whose entries exceed its map: groups that differ from what is in force. */
  withheld: Readonly<Record<string, readonly string[]>>;
  /** EndpointSlices of services, by slice: while a policy names services. */
  slices: Readonly<Record<string, { service: string; addresses: readonly string[] }>>;
  services: Readonly<Record<string, { labels: Record<string, string>; selector?: Record<string, string> }>>;
  /** Groups of rows that the last event changed. */
  touched: readonly string[];
  backoff: Backoff;
}

/** Peers that have no object. */
function reserved(): Change[] {
  const labels = (name: string): Record<string, string> => ({
    [`reserved:${name}`]: '',
    ...(name === 'kube-apiserver' && { 'reserved:remote-node': '' }),
  });
  return Object.entries(reservedIdentities).map(([name, identity]) => ({
    type: 'identity.upserted',
    identity: { identity, labels: labels(name) },
  }));
}

export const stateOf = ({ state }: PolicyContext): PolicyState =>
  state instanceof PolicyState ? state : revive(state);

export const objectsOf = ({ objects }: PolicyContext): PolicyObjects =>
  objects instanceof PolicyObjects ? objects : PolicyObjects.from(objects);

export function initialContext(agent: AgentFacts): PolicyContext {
  return {
    agent,
    state: emptyPolicyState(resolverConfig(agent)),
    synced: [],
    known: false,
    waiting: [reserved()],
    cidrs: {},
    nextCidr: 1,
    retired: [],
    subjects: {},
    orphaned: [],
    objects: PolicyObjects.from({}),
    namingServices: 0,
    remembered: {},
    inForce: {},
    entriesWanted: {},
    withheld: {},
    slices: {},
    services: {},
    touched: [],
    backoff: calm,
  };
}

export function resolverConfig({ clusterName, policy }: AgentFacts) {
  const { enforcement = 'never', allowLocalhost = true, audit = false } = policy ?? {};
  return { enforcement, allowLocalhost, audit, clusterName };
}

export const rememberedOf = (rows: readonly LocalPolicyRow[]): Record<string, Policy> =>
  Object.fromEntries(rows.map(({ policy }) => [(policy as Policy).key, policy as Policy]));

const BLOCK = 256;

/** Longer by some changes, at the cost of a block and not of all that waits. */
export function lengthened(
  blocks: readonly (readonly Change[])[],
  changes: readonly Change[],
): readonly (readonly Change[])[] {
  if (changes.length === 0) return blocks;
  const last = blocks.at(-1);
  if (!last || last.length >= BLOCK) return [...blocks, changes];
  return [...blocks.slice(0, -1), [...last, ...changes]];
}

/** Without some keys. */
export function without<T>(record: Readonly<Record<string, T>>, keys: readonly string[]): Readonly<Record<string, T>> {
  if (!keys.some((key) => Object.hasOwn(record, key))) return record;
  return Object.fromEntries(Object.entries(record).filter(([key]) => !keys.includes(key)));
}
