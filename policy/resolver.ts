/**
 * Incremental policy resolution: changes in, and out come map entries, enforcement, and what of them a change touched.
 * `change.ts` says what goes in and out.
 *
 * - The same inputs give the same entries, whatever the order and the number of changes that they came in.
 * - A changed policy costs what it says, at the subjects it selects; a changed identity costs the selectors that share a label with it.
 */
import { canonical } from '../state/tables.ts';
import type { Change, PolicyInputs, Subject, Touched } from './change.ts';
import { type CompiledPolicy, compile, peersOf } from './compile.ts';
import type { Peer, Policy } from './rule.ts';
import { addIdentity, removeIdentity } from './selector-index.ts';
import { namesGroup, namesService } from './selectors.ts';
import {
  type Draft,
  draftOf,
  emptyPolicyState,
  finished,
  namesOf,
  PolicyState,
  withMember,
  withoutMember,
} from './state.ts';
import { addSubject, removeSubject, replacePolicyAt } from './subject-policy.ts';
import { touchedBy } from './touched.ts';

export { enforcement, entries, entryCount, identitiesOf } from './groups.ts';
export { cidrIdentityLabels, nodeIdentityLabels } from './prefix.ts';
export { emptyPolicyState, PolicyState };

export function apply(state: PolicyState, changes: readonly Change[]): { state: PolicyState; touched: Touched } {
  const draft = draftOf(state);
  for (const change of changes) applyOne(draft, change);
  const after = finished(draft);
  return { state: after, touched: touchedBy(draft, after) };
}

function applyOne(draft: Draft, change: Change): void {
  switch (change.type) {
    case 'policy.upserted':
      upsertPolicy(draft, change.policy);
      return;
    case 'policy.removed':
      replacePolicy(draft, change.key, undefined);
      return;
    case 'identity.upserted': {
      const known = draft.identities.get(change.identity.identity);
      if (known && canonical(known.identity) === canonical(change.identity)) return;
      removeIdentity(draft, change.identity.identity);
      addIdentity(draft, change.identity);
      return;
    }
    case 'identity.removed':
      removeIdentity(draft, change.identity);
      return;
    case 'subject.upserted':
      upsertSubject(draft, change.subject);
      return;
    case 'subject.removed':
      removeSubject(draft, change.endpointId);
      return;
    case 'cidr-group.upserted': {
      const old = draft.groups.get(change.group.name);
      draft.groups = draft.groups.set(change.group.name, change.group, draft.edit);
      recompile(draft, (peer) => namesGroup(peer, change.group) || (!!old && namesGroup(peer, old)));
      return;
    }
    case 'cidr-group.removed': {
      const old = draft.groups.get(change.name);
      draft.groups = draft.groups.delete(change.name, draft.edit);
      recompile(draft, (peer) => !!old && namesGroup(peer, old));
      return;
    }
    case 'service.upserted': {
      const { service } = change;
      const key = `${service.namespace}/${service.name}`;
      const old = draft.services.get(key);
      draft.services = draft.services.set(key, service, draft.edit);
      recompile(draft, (peer) => namesService(peer, service) || (!!old && namesService(peer, old)));
      return;
    }
    case 'service.removed': {
      const key = `${change.namespace}/${change.name}`;
      const old = draft.services.get(key);
      draft.services = draft.services.delete(key, draft.edit);
      recompile(draft, (peer) => !!old && namesService(peer, old));
      return;
    }
    case 'config.changed': {
      const { clusterName } = draft.config;
      draft.config = change.config;
      // What selectors mean has changed: everything is built anew.
      if (clusterName !== change.config.clusterName) rebuild(draft);
      return;
    }
  }
}

function upsertPolicy(draft: Draft, policy: Policy): void {
  const known = draft.policies.get(policy.key);
  if (known && canonical(known.policy) === canonical(policy)) return;
  replacePolicy(draft, policy.key, compiled(draft, policy));
}

const compiled = (draft: Draft, policy: Policy): CompiledPolicy => compile(policy, namesOf(draft));

function replacePolicy(draft: Draft, key: string, young: CompiledPolicy | undefined): void {
  const { edit } = draft;
  const old = draft.policies.get(key);
  for (const endpointId of draft.subjects.keys()) replacePolicyAt(draft, endpointId, old, young);
  for (const { namespace } of old?.policy.rules ?? [])
    draft.policiesByNamespace = withoutMember(draft.policiesByNamespace, namespace, key, edit);
  for (const { namespace } of young?.policy.rules ?? [])
    draft.policiesByNamespace = withMember(draft.policiesByNamespace, namespace, key, edit);
  draft.policies = young ? draft.policies.set(key, young, edit) : draft.policies.delete(key, edit);
  draft.naming =
    young && peersOf(young.policy).some(isName) ? draft.naming.set(key, true, edit) : draft.naming.delete(key, edit);
}

const isName = ({ kind }: Peer): boolean =>
  kind === 'cidr-group' || kind === 'cidr-groups' || kind === 'service' || kind === 'services';

/** Policies with a peer that is concerned get what their names mean now. */
function recompile(draft: Draft, isConcerned: (peer: Peer) => boolean): void {
  for (const key of draft.naming.keys()) {
    const { policy } = draft.policies.get(key) as CompiledPolicy;
    if (peersOf(policy).some(isConcerned)) replacePolicy(draft, key, compiled(draft, policy));
  }
}

function upsertSubject(draft: Draft, subject: Subject): void {
  const known = draft.subjects.get(subject.endpointId);
  const isSame = known && canonical({ ...known.subject, identity: 0 }) === canonical({ ...subject, identity: 0 });
  if (isSame) {
    draft.subjects = draft.subjects.set(subject.endpointId, { ...known, subject }, draft.edit);
    return;
  }
  removeSubject(draft, subject.endpointId);
  addSubject(draft, subject);
}

function rebuild(draft: Draft): void {
  const inputs = new PolicyState(draft).toJSON();
  const { tables } = revive(inputs);
  Object.assign(draft, tables);
}

/** CIDRs that need a local identity, sorted. */
export const prefixes = (state: PolicyState): string[] => state.tables.prefixes.keys().sort();

export const toJSON = (state: PolicyState): PolicyInputs => state.toJSON();

export function revive(inputs: PolicyInputs): PolicyState {
  const changes: Change[] = [
    ...inputs.groups.map((group): Change => ({ type: 'cidr-group.upserted', group })),
    ...inputs.services.map((service): Change => ({ type: 'service.upserted', service })),
    ...inputs.identities.map((identity): Change => ({ type: 'identity.upserted', identity })),
    ...inputs.policies.map((policy): Change => ({ type: 'policy.upserted', policy })),
    ...inputs.subjects.map((subject): Change => ({ type: 'subject.upserted', subject })),
  ];
  return apply(emptyPolicyState(inputs.config), changes).state;
}
