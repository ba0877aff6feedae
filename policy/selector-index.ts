/**
 * Which selectors select which identities, kept both ways.
 *
 * - Only selectors that a subject's policies use are here; the last user takes the selector along.
 * - A new identity meets only the selectors that share an anchor with it, a new selector only such identities.
 */
import type { Identity } from './change.ts';
import { PersistentMap } from './persistent-map.ts';
import { familyOf, type Prefix, parsePrefix, prefixText, truncatedTo } from './prefix.ts';
import {
  anchorsOf,
  anchorsOfIdentity,
  CIDR_ANCHOR,
  matches,
  type Prepared,
  prepare,
  type Selector,
} from './selectors.ts';
import { counted, type Draft, type SelectorRecord, withMember, withoutMember } from './state.ts';

/** The number of a selector, with one more use by the endpoint. */
export function acquire(draft: Draft, text: string, selector: Selector, endpointId: number): number {
  const id = draft.selectorIds.get(text) ?? register(draft, text, selector);
  const record = draft.selectors.get(id) as SelectorRecord;
  const users = counted(record.users, endpointId, 1, draft.edit);
  draft.selectors = draft.selectors.set(id, { ...record, users }, draft.edit);
  return id;
}

export function release(draft: Draft, id: number, endpointId: number): void {
  const record = draft.selectors.get(id) as SelectorRecord;
  const users = counted(record.users, endpointId, -1, draft.edit);
  if (users.size === 0) unregister(draft, record);
  else draft.selectors = draft.selectors.set(id, { ...record, users }, draft.edit);
}

function register(draft: Draft, text: string, selector: Selector): number {
  const id = draft.nextSelector++;
  const { edit } = draft;
  let matched = PersistentMap.empty<number, true>();
  for (const anchor of anchorsOf(selector, draft.config.clusterName)) {
    draft.identitiesByAnchor.get(anchor)?.forEach((_, identity) => {
      const record = draft.identities.get(identity);
      if (!record || matched.has(identity) || !matches(selector, record.prepared, draft.config.clusterName)) return;
      matched = matched.set(identity, true, edit);
      draft.identities = draft.identities.set(identity, { ...record, selectors: [...record.selectors, id] }, edit);
    });
  }
  const users = PersistentMap.empty<number, number>();
  draft.selectors = draft.selectors.set(id, { id, text, selector, users, matched }, edit);
  draft.selectorIds = draft.selectorIds.set(text, id, edit);
  for (const anchor of selectorAnchors(draft, selector)) {
    const others = draft.selectorsByAnchor.get(anchor) ?? [];
    draft.selectorsByAnchor = draft.selectorsByAnchor.set(anchor, [...others, id], edit);
  }
  countPrefixes(draft, selector, 1);
  return id;
}

function unregister(draft: Draft, { id, text, selector, matched }: SelectorRecord): void {
  const { edit } = draft;
  matched.forEach((_, identity) => {
    const record = draft.identities.get(identity);
    if (!record) return;
    const selectors = record.selectors.filter((other) => other !== id);
    draft.identities = draft.identities.set(identity, { ...record, selectors }, edit);
  });
  for (const anchor of selectorAnchors(draft, selector)) {
    const rest = draft.selectorsByAnchor.get(anchor)?.filter((other) => other !== id) ?? [];
    draft.selectorsByAnchor =
      rest.length > 0 ? draft.selectorsByAnchor.set(anchor, rest, edit) : draft.selectorsByAnchor.delete(anchor, edit);
  }
  draft.selectors = draft.selectors.delete(id, edit);
  draft.selectorIds = draft.selectorIds.delete(text, edit);
  countPrefixes(draft, selector, -1);
}

/** Where an identity finds the selector. */
function selectorAnchors(draft: Draft, selector: Selector): readonly string[] {
  const anchors = anchorsOf(selector, draft.config.clusterName);
  const prefix = selector.kind === 'cidr' ? parsePrefix(selector.cidr) : undefined;
  return prefix ? [...anchors.filter((anchor) => anchor !== CIDR_ANCHOR), prefixAnchor(prefix)] : anchors;
}

const prefixAnchor = (prefix: Prefix): string => `/${prefix.words.join('.')}/${prefix.length}`;
const FAMILY_STEP = 1000;
const lengthKey = (prefix: Prefix): number => familyOf(prefix) * FAMILY_STEP + prefix.length;

function countPrefixes(draft: Draft, selector: Selector, by: 1 | -1): void {
  if (selector.kind !== 'cidr') return;
  const outer = parsePrefix(selector.cidr);
  if (outer) draft.cidrLengths = counted(draft.cidrLengths, lengthKey(outer), by, draft.edit);
  for (const text of [selector.cidr, ...selector.except]) {
    const prefix = parsePrefix(text);
    // The whole of a family is the world, which has its own identity.
    if (!prefix || prefix.length === 0) continue;
    const cidr = prefixText(prefix);
    draft.prefixes = counted(draft.prefixes, cidr, by, draft.edit);
    draft.changedPrefixes.add(cidr);
  }
}

const ascending = (a: number, b: number): number => a - b;

export function addIdentity(draft: Draft, identity: Identity): void {
  const { edit } = draft;
  const number = identity.identity;
  const prepared = prepare(identity);
  const selectors: number[] = [];
  const meet = (id: number): void => {
    const record = draft.selectors.get(id) as SelectorRecord;
    if (record.matched.has(number) || !matches(record.selector, prepared, draft.config.clusterName)) return;
    draft.selectors = draft.selectors.set(id, { ...record, matched: record.matched.set(number, true, edit) }, edit);
    selectors.push(id);
  };
  for (const anchor of anchorsOfIdentity(prepared)) {
    draft.identitiesByAnchor = withMember(draft.identitiesByAnchor, anchor, number, edit);
    draft.selectorsByAnchor.get(anchor)?.forEach(meet);
  }
  for (const anchor of coveringAnchors(draft, prepared)) draft.selectorsByAnchor.get(anchor)?.forEach(meet);
  draft.identities = draft.identities.set(number, { identity, prepared, selectors: selectors.sort(ascending) }, edit);
  draft.changedIdentities.add(number);
}

/** Of prefixes around the identity's own, of lengths that selectors have. */
function coveringAnchors(draft: Draft, { prefix }: Prepared): string[] {
  if (!prefix) return [];
  const family = familyOf(prefix) * FAMILY_STEP;
  return draft.cidrLengths
    .keys()
    .filter((key) => key >= family && key <= family + prefix.length)
    .map((key) => prefixAnchor(truncatedTo(prefix, key - family)));
}

export function removeIdentity(draft: Draft, number: number): void {
  const { edit } = draft;
  const known = draft.identities.get(number);
  if (!known) return;
  for (const id of known.selectors) {
    const record = draft.selectors.get(id) as SelectorRecord;
    draft.selectors = draft.selectors.set(id, { ...record, matched: record.matched.delete(number, edit) }, edit);
  }
  for (const anchor of anchorsOfIdentity(known.prepared))
    draft.identitiesByAnchor = withoutMember(draft.identitiesByAnchor, anchor, number, edit);
  draft.identities = draft.identities.delete(number, edit);
  draft.changedIdentities.add(number);
}
