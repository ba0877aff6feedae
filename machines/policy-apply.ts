/**
 * Changes into the resolver, and what comes of them: which rows are touched, what is in force where.
 *
 * - A CIDR's identity is in the maps under the policies of before, when the policies that name it come: programs never see both
 *   change at once. It goes likewise after them (simulations/prefix-check.test.ts shows what would leak).
 * - An endpoint whose entries exceed its map keeps what it has. One that has nothing yet is denied everything.
 */
import type { Change, Touched } from '../policy/change.ts';
import {
  apply,
  cidrIdentityLabels,
  enforcement,
  entries,
  identitiesOf,
  type PolicyState,
  prefixes,
} from '../policy/resolver.ts';
import { HOST_ENDPOINT, lengthened, objectsOf, type PolicyContext, stateOf, without } from './policy-context.ts';

/** Local scope; reference/identities-and-labels.md, section 1. */
const CIDR_SCOPE = 1 << 24;
const CIDR_NUMBERS = 1 << 24;

export const entryGroup = (endpointId: number, identity: number): string => `entries/${endpointId}/${identity}`;
export const mapGroup = (endpointId: number): string => `map/${endpointId}`;
export const cidrGroup = (cidr: string): string => `cidr/${cidr}`;
export const HOST_GROUP = 'host';

/** What is in force says all of them; anything else may bring new CIDRs, a subject by the policies that select it. */
const isIdentity = ({ type }: Change): boolean => type.startsWith('identity.');

export function change(context: PolicyContext, changes: readonly Change[]): PolicyContext {
  if (changes.length === 0) return context;
  if (!context.known) return { ...context, waiting: lengthened(context.waiting, changes) };
  if (context.waiting.length > 0) {
    const held = changes.filter((one) => !isIdentity(one));
    const waiting = lengthened(context.waiting, held);
    return commit({ ...context, waiting }, changes.filter(isIdentity));
  }
  const before = stateOf(context);
  const after = apply(before, changes);
  const { cidrs, retired } = context;
  const added = after.touched.prefixesAdded;
  const fresh = added.filter((cidr) => cidrs[cidr] === undefined);
  // Of before the agent's start: what the maps say of them stays, so nothing is waited for.
  const restored = added.filter((cidr) => {
    const identity = cidrs[cidr];
    return identity !== undefined && retired.includes(cidr) && !before.tables.identities.has(identity);
  });
  const kept = { ...context, retired: retired.filter((cidr) => !restored.includes(cidr)) };
  if (restored.length > 0) {
    const touched = [...context.touched, ...restored.map(cidrGroup)];
    return change(
      commit(
        { ...kept, touched },
        restored.map((cidr) => introduction(context, cidr)),
      ),
      changes,
    );
  }
  if (fresh.length === 0) return settle(context, before, after);
  const numbered = number(context, fresh);
  const introduced = [...changes.filter(isIdentity), ...fresh.map((cidr) => introduction(numbered, cidr))];
  const waiting = [changes.filter((one) => !isIdentity(one))];
  return commit({ ...numbered, waiting, touched: [...numbered.touched, ...fresh.map(cidrGroup)] }, introduced);
}

/** Everything has been listed: what waited is resolved at once, on the identities that CIDRs had before. */
export function begin(context: PolicyContext): PolicyContext {
  const before = stateOf(context);
  const listed = apply(before, context.waiting.flat());
  const cidrs = listed.touched.prefixesAdded;
  const numbered = number({ ...context, known: true, waiting: [] }, cidrs);
  const introduced = cidrs.map((cidr) => introduction(numbered, cidr));
  const touched = [...numbered.touched, ...cidrs.map(cidrGroup), ...objectsOf(context).keys().map(statusGroup)];
  const last = apply(listed.state, introduced);
  return settle({ ...numbered, touched }, before, { state: last.state, touched: union(listed.touched, last.touched) });
}

function union(a: Touched, b: Touched): Touched {
  const groups = new Map([...a.groups].map(([id, identities]) => [id, new Set(identities)]));
  for (const [id, identities] of b.groups) groups.set(id, new Set([...(groups.get(id) ?? []), ...identities]));
  return {
    enforcement: [...new Set([...a.enforcement, ...b.enforcement])],
    groups,
    prefixesAdded: [...a.prefixesAdded, ...b.prefixesAdded],
    prefixesRemoved: [...a.prefixesRemoved, ...b.prefixesRemoved],
  };
}

export const statusGroup = (key: string): string => `status/${key}`;

/** The identities of new CIDRs are in the maps: now the policies that name them. */
export function proceed(context: PolicyContext): PolicyContext {
  const next = change({ ...context, waiting: [], touched: [] }, context.waiting.flat());
  if (next.waiting.length > 0) return next;
  // What named a CIDR may have gone while its identity was on its way.
  const named = new Set(prefixes(stateOf(next)));
  const unnamed = Object.keys(next.cidrs).filter((cidr) => !named.has(cidr) && !next.retired.includes(cidr));
  return unnamed.length > 0 ? { ...next, retired: [...next.retired, ...unnamed] } : next;
}

/** What named the CIDRs is gone from the maps: now their identities. */
export function retire(context: PolicyContext): PolicyContext {
  const { cidrs, retired } = context;
  const removed = retired.map((cidr): Change => ({ type: 'identity.removed', identity: cidrs[cidr] as number }));
  const left = { ...context, retired: [], cidrs: without(cidrs, retired), touched: retired.map(cidrGroup) };
  return commit(left, removed);
}

function commit(context: PolicyContext, changes: readonly Change[]): PolicyContext {
  if (changes.length === 0) return context;
  const before = stateOf(context);
  return settle(context, before, apply(before, changes));
}

const introduction = ({ agent, cidrs }: PolicyContext, cidr: string): Change => ({
  type: 'identity.upserted',
  identity: { identity: cidrs[cidr] as number, labels: cidrIdentityLabels(cidr, agent) },
});

/** The number to begin with where these identities have been given. */
export const nextAfter = (identities: readonly number[]): number =>
  (identities.reduce((last, one) => Math.max(last, one & (CIDR_NUMBERS - 1)), 0) % (CIDR_NUMBERS - 1)) + 1;

/** Gives CIDRs numbers, those after the last that was given first: a number that is free again is not soon another's. */
function number(context: PolicyContext, fresh: readonly string[]): PolicyContext {
  if (fresh.length === 0) return context;
  const cidrs: Record<string, number> = { ...context.cidrs };
  const taken = new Set(Object.values(cidrs));
  let { nextCidr } = context;
  for (const cidr of fresh) {
    if (cidrs[cidr] !== undefined) continue;
    while (taken.has(CIDR_SCOPE | nextCidr)) nextCidr = (nextCidr % (CIDR_NUMBERS - 1)) + 1;
    cidrs[cidr] = CIDR_SCOPE | nextCidr;
    taken.add(CIDR_SCOPE | nextCidr);
    nextCidr = (nextCidr % (CIDR_NUMBERS - 1)) + 1;
  }
  return { ...context, cidrs, nextCidr };
}

function settle(
  context: PolicyContext,
  before: PolicyState,
  { state, touched }: ReturnType<typeof apply>,
): PolicyContext {
  const groups = new Set(context.touched);
  const inForce = { ...context.inForce };
  const entriesWanted = { ...context.entriesWanted };
  const withheld: Record<string, readonly string[]> = { ...context.withheld };
  const limit = context.agent.policy?.entriesMax ?? Number.POSITIVE_INFINITY;
  const subjects = new Set(Object.values(context.subjects).map(({ endpointId }) => endpointId));
  if (context.agent.policy?.hostFirewall) subjects.add(HOST_ENDPOINT);

  for (const id of new Set([...touched.enforcement, ...touched.groups.keys()])) {
    const changed = [...(touched.groups.get(id) ?? [])];
    if (!subjects.has(id)) {
      const left = new Set([...changed, ...identitiesOf(before, id)].map((identity) => entryGroup(id, identity)));
      for (const group of [mapGroup(id), ...left, ...(withheld[id] ?? [])]) groups.add(group);
      for (const record of [inForce, entriesWanted, withheld]) delete record[id];
      if (id === HOST_ENDPOINT) groups.add(HOST_GROUP);
      continue;
    }
    let wanted = entriesWanted[id] ?? 0;
    for (const one of changed) wanted += entries(state, id, one).length - entries(before, id, one).length;
    entriesWanted[id] = wanted;
    if (!inForce[id]) groups.add(mapGroup(id));
    const mine = [...changed.map((one) => entryGroup(id, one)), ...(withheld[id] ?? [])];
    if (wanted > limit) {
      withheld[id] = [...new Set(mine)];
      inForce[id] ??= { ingress: true, egress: true };
    } else {
      for (const group of mine) groups.add(group);
      delete withheld[id];
      const { ingress, egress } = enforcement(state, id);
      inForce[id] = { ingress, egress };
    }
    if (id === HOST_ENDPOINT) groups.add(HOST_GROUP);
  }

  const wantedAgain = new Set(touched.prefixesAdded);
  const retired = [...context.retired, ...touched.prefixesRemoved].filter(
    (cidr, i, all) => !wantedAgain.has(cidr) && context.cidrs[cidr] !== undefined && all.indexOf(cidr) === i,
  );
  return { ...context, state, inForce, entriesWanted, withheld, retired, touched: [...groups] };
}
