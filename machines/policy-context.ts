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
import type { ApiServerFact } from './api-server.ts';
import { type Backoff, calm } from './backoff.ts';
import { reservedIdentities } from './identity.ts';
import type { NodeIdentityFact } from './node-identity.ts';
import type { SubjectFact } from './policy-facts.ts';
import type { PeerPorts } from './policy-ports.ts';
import { type Recorded, Records, recordsOf } from './records.ts';

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
  /** The object on the API server says already what is to be said of it: another node was faster. */
  isTold: boolean;
  /** In force instead of an object that is not valid; undefined: no version of it was ever valid here. */
  lastValid: Policy | undefined;
}

/** What is in force at one endpoint. */
export interface EndpointPolicy {
  /** That its addresses may have. */
  identity: number;
  /** What programs are told to enforce. */
  ingress: boolean;
  egress: boolean;
  /** That its policies come to. */
  entries: number;
  /** Groups that differ from what is in force, since its entries exceed its map. */
  withheld: readonly string[];
}

/**
 * A change that takes something away at one end and adds something at another: first all of its endpoints allow only what they do
 * both before and after it, and then what they do after it.
 */
export interface Closing {
  before: PolicyState | PolicyInputs;
  groups: readonly string[];
  endpoints: readonly number[];
}

export interface PolicyContext {
  agent: AgentFacts;
  state: PolicyState | PolicyInputs;
  /** Sources whose first list is complete. */
  synced: readonly string[];
  /** Everything has been listed, and policy is in force. */
  known: boolean;
  /** Changes that wait, in blocks: for the first lists, for the identities of their CIDRs, or for the change before them. */
  waiting: readonly (readonly Change[])[];
  /** CIDRs whose identities are on their way into the maps. */
  introduced: readonly string[];
  closing: Closing | undefined;
  /** Identities of CIDRs, and the other way round. */
  cidrs: Recorded<number>;
  numbers: Recorded<string>;
  nextCidr: number;
  /** CIDRs that no policy names any more; their identities go when the entries for them are gone. */
  retired: readonly string[];
  /** By machine that publishes them. */
  subjects: Recorded<SubjectFact>;
  /** By endpoint: the machine that publishes it. */
  machines: Recorded<string>;
  /** By identity: how many subjects have it, by the text of their named ports. */
  bearers: Recorded<Readonly<Record<string, number>>>;
  /** Identities that subjects have and whose object is gone. */
  orphaned: readonly number[];
  objects: Recorded<PolicyObject>;
  /** Policies in force that name services. */
  namingServices: number;
  /** Policies in force that name ports of their peers. */
  namingPorts: number;
  /** Meanwhile: named ports of all pods by object that tells them, and how many bear them by identity. */
  peerPorts: Recorded<readonly PeerPorts[]>;
  portBearers: Recorded<Readonly<Record<string, number>>>;
  /** From the life before this one: what was in force. */
  remembered: Readonly<Record<string, Policy>>;
  endpoints: Recorded<EndpointPolicy>;
  /** While a policy names services: addresses by service and EndpointSlice, and the service of each slice. */
  slices: Recorded<Readonly<Record<string, readonly string[]>>>;
  serviceOfSlice: Recorded<string>;
  services: Recorded<{ labels: Record<string, string>; selector?: Record<string, string> }>;
  /** Undefined: not heard of yet. */
  apiServer: ApiServerFact | undefined;
  /** Of other nodes, by their machine; where policies tell nodes by labels. */
  nodeIdentities: Recorded<NodeIdentityFact>;
  /** Groups of rows and facts that the last event changed. */
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

export const stateOf = ({ state }: PolicyContext): PolicyState => revived(state);

export const revived = (state: PolicyState | PolicyInputs): PolicyState =>
  state instanceof PolicyState ? state : revive(state);

export const objectsOf = ({ objects }: PolicyContext): Records<PolicyObject> => recordsOf(objects);

export function initialContext(agent: AgentFacts): PolicyContext {
  return {
    agent,
    state: emptyPolicyState(resolverConfig(agent)),
    synced: [],
    known: false,
    waiting: [reserved()],
    introduced: [],
    closing: undefined,
    cidrs: Records.from({}),
    numbers: Records.from({}),
    nextCidr: 1,
    retired: [],
    subjects: Records.from({}),
    machines: Records.from({}),
    bearers: Records.from({}),
    orphaned: [],
    objects: Records.from({}),
    namingServices: 0,
    namingPorts: 0,
    peerPorts: Records.from({}),
    portBearers: Records.from({}),
    remembered: {},
    endpoints: Records.from({}),
    slices: Records.from({}),
    serviceOfSlice: Records.from({}),
    services: Records.from({}),
    apiServer: undefined,
    nodeIdentities: Records.from({}),
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
