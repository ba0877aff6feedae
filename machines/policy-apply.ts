/**
 * Changes into the resolver, at once or when what they need is in the maps.
 *
 * - A CIDR's identity is in the maps under the policies of before, when the policies that name it come: programs never see both
 *   change at once. It goes likewise after them (simulations/prefix-check.test.ts shows what would leak).
 */
import type { Change, Touched } from '../policy/change.ts';
import { isExchange } from '../policy/intersection.ts';
import { CIDR_NUMBERS, localIdentity } from '../policy/local-scope.ts';
import { apply, cidrIdentityLabels, type PolicyState } from '../policy/resolver.ts';
import type { Policy } from '../policy/rule.ts';
import { canonical } from '../state/tables.ts';
import { lengthened, objectsOf, type PolicyContext, revived, stateOf } from './policy-context.ts';
import { type Applied, settle } from './policy-settle.ts';
import { recordsOf } from './records.ts';

export const cidrGroup = (cidr: string): string => `cidr/${cidr}`;
export const statusGroup = (key: string): string => `status/${key}`;

/** What is in force says all of them; anything else may bring new CIDRs, a subject by the policies that select it. */
const isIdentity = ({ type }: Change): boolean => type.startsWith('identity.');
const isNewIdentity = ({ type }: Change): boolean => type === 'identity.upserted';

export function change(context: PolicyContext, changes: readonly Change[]): PolicyContext {
  if (changes.length === 0) return context;
  if (!context.known) return { ...context, waiting: lengthened(context.waiting, changes) };
  if (context.closing) return whileClosing(context, changes);
  if (context.waiting.length > 0) {
    const held = changes.filter((one) => !isIdentity(one));
    const waiting = lengthened(context.waiting, held);
    return commit({ ...context, waiting }, changes.filter(isIdentity));
  }
  const before = stateOf(context);
  const after = apply(before, changes);
  const cidrs = recordsOf(context.cidrs);
  const added = after.touched.prefixesAdded;
  const fresh = added.filter((cidr) => cidrs.get(cidr) === undefined);
  // Of before the agent's start: what the maps say of them stays, so nothing is waited for.
  const restored = added.filter((cidr) => {
    const identity = cidrs.get(cidr);
    return identity !== undefined && context.retired.includes(cidr) && !before.tables.identities.has(identity);
  });
  if (restored.length > 0) {
    const retired = context.retired.filter((cidr) => !restored.includes(cidr));
    const touched = [...context.touched, ...restored.map(cidrGroup)];
    const introduced = restored.map((cidr) => introduction(context, cidr));
    return change(commit({ ...context, retired, touched }, introduced), changes);
  }
  if (fresh.length === 0) return turn(context, before, after, changes);
  const numbered = number(context, fresh);
  const introduced = [...changes.filter(isIdentity), ...fresh.map((cidr) => introduction(numbered, cidr))];
  const waiting = [changes.filter((one) => !isIdentity(one))];
  const touched = [...numbered.touched, ...fresh.map(cidrGroup)];
  return commit({ ...numbered, waiting, introduced: fresh, touched }, introduced);
}

/** From one state to the next: at once, or in two steps where one end loses and another wins, or an address changes its identity. */
function turn(context: PolicyContext, before: PolicyState, after: Applied, changes: readonly Change[]): PolicyContext {
  const also = relabelled(before, changes);
  if (also.length === 0 && !isExchange(before, after.state, after.touched)) return settle(context, before, after);
  // Peers know a new identity before anybody has it, and the old one as long as somebody does.
  const met = apply(before, changes.filter(isNewIdentity));
  const met2 = settle(context, before, met);
  const rest = changes.filter((one) => !isIdentity(one));
  const gone = changes.filter(({ type }) => type === 'identity.removed');
  // Nobody has them any more when the rest is in force; without a rest their going is the change.
  const last = apply(met.state, rest.length > 0 ? rest : gone);
  const waiting = lengthened(context.waiting, rest.length > 0 ? gone : []);
  const closing = { before: met.state, groups: [], endpoints: [] };
  return settle({ ...met2, waiting }, met.state, last, { closing, also });
}

/** Endpoints that get another identity. */
const relabelled = (before: PolicyState, changes: readonly Change[]): number[] =>
  changes.flatMap((one) => {
    if (one.type !== 'subject.upserted') return [];
    const known = before.tables.subjects.get(one.subject.endpointId)?.subject;
    return known && known.identity !== one.subject.identity ? [one.subject.endpointId] : [];
  });

/** Both states get to know new identities, and everything else waits. */
function whileClosing(context: PolicyContext, changes: readonly Change[]): PolicyContext {
  const { closing } = context;
  if (!closing) return context;
  const held = changes.filter((one) => !isNewIdentity(one));
  const waiting = lengthened(context.waiting, held);
  const met = changes.filter(isNewIdentity);
  if (met.length === 0) return { ...context, waiting };
  const before = stateOf(context);
  const closingBefore = apply(revived(closing.before), met).state;
  return settle({ ...context, waiting }, before, apply(before, met), {
    closing: { ...closing, before: closingBefore },
  });
}

/**
 * Everything has been listed. Where policies or labels changed while no agent was there, those of before come first, for they are what the
 * maps have: from there it goes on as in any other change.
 */
export function begin(context: PolicyContext): PolicyContext {
  const listed = context.waiting.flat();
  const { remembered } = context;
  // An object that comes from now on is a new one.
  const begun = { ...context, remembered: {} };
  const { settled, moved } = relabelledSince(listed);
  const since = changedSince(remembered, listed);
  if (since.length === 0 && moved.length === 0) return beginWith(begun, settled);
  const before = beginWith(begun, inForceBefore(remembered, settled));
  // One after the other: between two identities an address needs what both have, all else being the same.
  return [...moved.map((one) => [one]), since].reduce(change, before);
}

/**
 * An endpoint that was there before comes first as it was; what it is in the end, and what went with it, is news. What it was between the two
 * never was in force.
 */
function relabelledSince(listed: readonly Change[]): { settled: readonly Change[]; moved: Change[] } {
  const first = new Map<number, number>();
  const last = new Map<number, Change>();
  for (const one of listed) {
    const id = endpointOf(one);
    if (id === undefined) continue;
    last.set(id, one);
    if (one.type === 'subject.upserted' && !first.has(id)) first.set(id, one.subject.identity);
  }
  const isOther = (one: Change): boolean =>
    one.type === 'subject.upserted' && first.get(one.subject.endpointId) !== one.subject.identity;
  const moved = [...last.values()].filter(isOther);
  if (moved.length === 0) return { settled: listed.filter((one) => !isOther(one)), moved };
  const gone = identitiesGone(listed);
  return { settled: listed.filter((one) => !isOther(one) && !gone.includes(one)), moved: [...moved, ...gone] };
}

function endpointOf(one: Change): number | undefined {
  if (one.type === 'subject.upserted') return one.subject.endpointId;
  return one.type === 'subject.removed' ? one.endpointId : undefined;
}

/** Those of which nothing came after. */
function identitiesGone(listed: readonly Change[]): Change[] {
  const last = new Map<number, Change>();
  for (const one of listed) {
    if (one.type === 'identity.removed') last.set(one.identity, one);
    if (one.type === 'identity.upserted') last.delete(one.identity.identity);
  }
  return [...last.values()];
}

/** What is listed, with the policies that are remembered. Where nothing is remembered those that are listed hold from the beginning. */
function inForceBefore(remembered: PolicyContext['remembered'], listed: readonly Change[]): readonly Change[] {
  const past = Object.values(remembered).map((policy): Change => ({ type: 'policy.upserted', policy }));
  return past.length > 0 ? [...listed.filter((one) => !isPolicy(one)), ...past] : listed;
}

const isPolicy = ({ type }: Change): boolean => type.startsWith('policy.');

/** What makes the policies that are listed of those that are remembered. Nothing is denied where nothing is remembered. */
function changedSince(remembered: PolicyContext['remembered'], listed: readonly Change[]): Change[] {
  if (Object.keys(remembered).length === 0) return [];
  const now = new Map<string, Policy>();
  for (const one of listed) {
    if (one.type === 'policy.upserted') now.set(one.policy.key, one.policy);
    if (one.type === 'policy.removed') now.delete(one.key);
  }
  const gone = Object.keys(remembered).filter((key) => !now.has(key));
  const other = [...now].filter(([key, policy]) => canonical(policy) !== canonical(remembered[key]));
  return [
    ...gone.map((key): Change => ({ type: 'policy.removed', key })),
    ...other.map(([, policy]): Change => ({ type: 'policy.upserted', policy })),
  ];
}

/** All at once, on the identities that CIDRs had before. */
function beginWith(context: PolicyContext, changes: readonly Change[]): PolicyContext {
  const before = stateOf(context);
  const listed = apply(before, changes);
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

/** What waited may come: the identities of its CIDRs are in the maps, or the change before it is. */
export function proceed(context: PolicyContext): PolicyContext {
  const { introduced } = context;
  const next = change({ ...context, waiting: [], introduced: [], touched: [] }, context.waiting.flat());
  // What named a CIDR may have gone while its identity was on its way.
  const { prefixes } = stateOf(next).tables;
  const unnamed = introduced.filter((cidr) => !prefixes.has(cidr) && !next.retired.includes(cidr));
  if (unnamed.length === 0) return next;
  return next.waiting.length > 0
    ? { ...next, introduced: [...next.introduced, ...unnamed] }
    : { ...next, retired: [...next.retired, ...unnamed] };
}

/** What named the CIDRs is gone from the maps: now their identities. */
export function retire(context: PolicyContext): PolicyContext {
  const { retired } = context;
  let cidrs = recordsOf(context.cidrs);
  let numbers = recordsOf(context.numbers);
  const removed: Change[] = [];
  for (const cidr of retired) {
    const identity = cidrs.get(cidr) as number;
    removed.push({ type: 'identity.removed', identity });
    cidrs = cidrs.with(cidr, undefined);
    numbers = numbers.with(identity, undefined);
  }
  return commit({ ...context, retired: [], cidrs, numbers, touched: retired.map(cidrGroup) }, removed);
}

function commit(context: PolicyContext, changes: readonly Change[]): PolicyContext {
  if (changes.length === 0) return context;
  const before = stateOf(context);
  return settle(context, before, apply(before, changes));
}

const introduction = ({ agent, cidrs }: PolicyContext, cidr: string): Change => ({
  type: 'identity.upserted',
  identity: { identity: recordsOf(cidrs).get(cidr) as number, labels: cidrIdentityLabels(cidr, agent) },
});

/** The number to begin with where these identities have been given. */
export const nextAfter = (identities: readonly number[]): number =>
  (identities.reduce((last, one) => Math.max(last, localIdentity.numberOf(one)), 0) % (CIDR_NUMBERS - 1)) + 1;

/** Gives CIDRs numbers, those after the last that was given first: a number that is free again is not soon another's. */
function number(context: PolicyContext, fresh: readonly string[]): PolicyContext {
  if (fresh.length === 0) return context;
  let cidrs = recordsOf(context.cidrs);
  let numbers = recordsOf(context.numbers);
  let { nextCidr } = context;
  for (const cidr of fresh) {
    if (cidrs.get(cidr) !== undefined) continue;
    while (numbers.get(localIdentity.ofCidr(nextCidr)) !== undefined) nextCidr = (nextCidr % (CIDR_NUMBERS - 1)) + 1;
    cidrs = cidrs.with(cidr, localIdentity.ofCidr(nextCidr));
    numbers = numbers.with(localIdentity.ofCidr(nextCidr), cidr);
    nextCidr = (nextCidr % (CIDR_NUMBERS - 1)) + 1;
  }
  return { ...context, cidrs, numbers, nextCidr };
}
