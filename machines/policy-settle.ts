/**
 * What comes of a change of policy: which rows are touched, what is in force where, and in how many steps.
 *
 * - What takes away at one end and adds at another goes in two steps: to what both the old and the new allow, and from there to the new
 *   (`simulations/prefix-check-policy.test.ts` shows what would pass between the two otherwise).
 * - An address gets another identity between these two, under what both its old and its new labels allow.
 * - An endpoint whose entries exceed its map keeps what it has. One that has nothing yet is denied everything.
 */
import type { apply } from '../policy/resolver.ts';
import { enforcement, entryCount, identitiesOf, type PolicyState } from '../policy/resolver.ts';
import { type Closing, type EndpointPolicy, HOST_ENDPOINT, type PolicyContext, stateOf } from './policy-context.ts';
import { type Records, recordsOf } from './records.ts';

export const entryGroup = (endpointId: number, identity: number): string => `entries/${endpointId}/${identity}`;
export const mapGroup = (endpointId: number): string => `map/${endpointId}`;
/** No rows: what the endpoint is told. */
export const endpointGroup = (endpointId: number): string => `endpoint/${endpointId}`;
export const HOST_GROUP = 'host';

export type Applied = ReturnType<typeof apply>;

/** `closing`: in two steps, of which this is the first. `also`: endpoints that are concerned though none of their entries are. */
export function settle(
  context: PolicyContext,
  before: PolicyState,
  { state, touched }: Applied,
  { closing, also = [] }: { closing?: Closing; also?: readonly number[] } = {},
): PolicyContext {
  const groups = new Set(context.touched);
  const closingGroups = new Set(closing?.groups);
  const closingEndpoints = new Set(closing?.endpoints);
  const concerned = new Set([...touched.enforcement, ...touched.groups.keys(), ...also]);
  let endpoints = recordsOf(context.endpoints);
  for (const id of concerned) {
    const changed = [...(touched.groups.get(id) ?? [])];
    const known = endpoints.get(id);
    groups.add(endpointGroup(id));
    if (id === HOST_ENDPOINT) groups.add(HOST_GROUP);
    const subject = state.tables.subjects.get(id)?.subject;
    if (!subject) {
      const left = new Set([...changed, ...identitiesOf(before, id)].map((identity) => entryGroup(id, identity)));
      for (const group of [mapGroup(id), ...left, ...(known?.withheld ?? [])]) groups.add(group);
      endpoints = endpoints.with(id, undefined);
      continue;
    }
    if (!known) groups.add(mapGroup(id));
    const mine = [...changed.map((one) => entryGroup(id, one)), ...(known?.withheld ?? [])];
    const entries = changed.reduce(
      (sum, one) => sum + entryCount(state, id, one) - entryCount(before, id, one),
      known?.entries ?? 0,
    );
    const isClosing = closing !== undefined && known !== undefined && before.tables.subjects.has(id);
    const fits = entries <= limitOf(context);
    if (isClosing) closingEndpoints.add(id);
    if (fits) {
      for (const group of mine) {
        groups.add(group);
        if (isClosing) closingGroups.add(group);
      }
    }
    const wanted = inForce(state, id, known, fits);
    endpoints = endpoints.with(id, {
      identity: isClosing ? known.identity : subject.identity,
      ingress: wanted.ingress || (isClosing && known.ingress),
      egress: wanted.egress || (isClosing && known.egress),
      entries,
      withheld: fits ? [] : [...new Set(mine)],
    });
  }
  return {
    ...context,
    state,
    endpoints,
    retired: withRetired(context, touched),
    closing: closing && { before: closing.before, groups: [...closingGroups], endpoints: [...closingEndpoints] },
    touched: [...groups],
  };
}

const limitOf = ({ agent }: PolicyContext): number => agent.policy?.entriesMax ?? Number.POSITIVE_INFINITY;

function inForce(
  state: PolicyState,
  id: number,
  known: EndpointPolicy | undefined,
  fits: boolean,
): { ingress: boolean; egress: boolean } {
  return fits ? enforcement(state, id) : (known ?? { ingress: true, egress: true });
}

function withRetired(
  context: PolicyContext,
  { prefixesAdded, prefixesRemoved }: Applied['touched'],
): readonly string[] {
  const { retired } = context;
  if (prefixesRemoved.length === 0 && (prefixesAdded.length === 0 || retired.length === 0)) return retired;
  const cidrs = recordsOf(context.cidrs);
  const wantedAgain = new Set(prefixesAdded);
  const all = new Set([...retired, ...prefixesRemoved]);
  return [...all].filter((cidr) => !wantedAgain.has(cidr) && cidrs.get(cidr) !== undefined);
}

/** Somebody's address waits for another identity. */
export function isRelabelling(context: PolicyContext): boolean {
  const endpoints = recordsOf(context.endpoints);
  const { subjects } = stateOf(context).tables;
  return (context.closing?.endpoints ?? []).some((id) => {
    const now = subjects.get(id)?.subject.identity;
    return now !== undefined && endpoints.get(id)?.identity !== now;
  });
}

/** Nothing passes but what passes before and after: now the addresses' new identities. */
export const relabel = (context: PolicyContext): PolicyContext =>
  context.closing
    ? {
        ...context,
        endpoints: identified(context, context.closing),
        touched: context.closing.endpoints.map(endpointGroup),
      }
    : context;

/** The second step: what the new state allows. */
export function open(context: PolicyContext): PolicyContext {
  const { closing } = context;
  if (!closing) return context;
  const state = stateOf(context);
  let endpoints = identified(context, closing);
  for (const id of closing.endpoints) {
    const known = endpoints.get(id);
    if (known) endpoints = endpoints.with(id, { ...known, ...inForce(state, id, known, known.withheld.length === 0) });
  }
  const host = closing.endpoints.includes(HOST_ENDPOINT) ? [HOST_GROUP] : [];
  const touched = [...closing.groups, ...host, ...closing.endpoints.map(endpointGroup)];
  return { ...context, endpoints, closing: undefined, touched };
}

function identified(context: PolicyContext, { endpoints: closing }: Closing): Records<EndpointPolicy> {
  const { subjects } = stateOf(context).tables;
  let endpoints = recordsOf(context.endpoints);
  for (const id of closing) {
    const known = endpoints.get(id);
    const identity = subjects.get(id)?.subject.identity;
    if (known && identity !== undefined && identity !== known.identity)
      endpoints = endpoints.with(id, { ...known, identity });
  }
  return endpoints;
}
