/** What the policies that select a subject say at it: put together policy by policy, so that a change costs what the policy says. */
import type { Subject } from './change.ts';
import { ANYBODY_TEXT, type CompiledPolicy, type CompiledSection, isSameSaid, type Said } from './compile.ts';
import { PersistentMap } from './persistent-map.ts';
import { keysOf } from './ports.ts';
import { type Direction, directions, type Rule } from './rule.ts';
import { acquire, release } from './selector-index.ts';
import { matchesLabels, NAMESPACE_LABEL, type Prepared, prepare } from './selectors.ts';
import { ANYBODY, type DirectionState, type Draft, type SubjectRecord } from './state.ts';

const noRules = (): DirectionState => ({ rules: 0, denying: 0, bySelector: PersistentMap.empty() });

export const namespaceOf = ({ labels }: Prepared): string => labels[`k8s:${NAMESPACE_LABEL}`] ?? '';

export function isSubject(rule: Rule, subject: Subject, prepared: Prepared, clusterName: string): boolean {
  if ((rule.subject.kind === 'nodes') !== subject.host) return false;
  if (rule.namespace !== '' && rule.namespace !== namespaceOf(prepared)) return false;
  return matchesLabels(rule.subject, prepared, clusterName);
}

export function addSubject(draft: Draft, subject: Subject): void {
  const prepared = prepare(subject);
  const record = { subject, prepared, ingress: noRules(), egress: noRules() };
  draft.subjects = draft.subjects.set(subject.endpointId, record, draft.edit);
  draft.changedSubjects.add(subject.endpointId);
  for (const policy of policiesNear(draft, prepared)) replacePolicyAt(draft, subject.endpointId, undefined, policy);
}

export function removeSubject(draft: Draft, endpointId: number): void {
  const record = draft.subjects.get(endpointId);
  if (!record) return;
  for (const policy of policiesNear(draft, record.prepared)) replacePolicyAt(draft, endpointId, policy, undefined);
  draft.subjects = draft.subjects.delete(endpointId, draft.edit);
  draft.changedSubjects.add(endpointId);
}

/** Policies that could be about the subject. */
function policiesNear(draft: Draft, prepared: Prepared): CompiledPolicy[] {
  const namespaces = new Set(['', namespaceOf(prepared)]);
  return [...namespaces]
    .flatMap((namespace) => draft.policiesByNamespace.get(namespace)?.keys() ?? [])
    .map((key) => draft.policies.get(key) as CompiledPolicy);
}

/** At one subject: one version of a policy in place of another. */
export function replacePolicyAt(
  draft: Draft,
  endpointId: number,
  old: CompiledPolicy | undefined,
  young: CompiledPolicy | undefined,
): void {
  const record = draft.subjects.get(endpointId) as SubjectRecord;
  const replaced = { ...record };
  let isChanged = false;
  for (const direction of directions) {
    const gone = sectionsAt(draft, record, old, direction);
    const come = sectionsAt(draft, record, young, direction);
    if (gone.length === 0 && come.length === 0) continue;
    isChanged = true;
    replaced[direction] = replaceSections(draft, record, direction, (young ?? old)?.policy.key ?? '', gone, come);
  }
  if (isChanged) draft.subjects = draft.subjects.set(endpointId, replaced, draft.edit);
}

function sectionsAt(
  draft: Draft,
  { subject, prepared }: SubjectRecord,
  policy: CompiledPolicy | undefined,
  direction: Direction,
): CompiledSection[] {
  return (policy?.rules ?? [])
    .filter(({ rule }) => rule[direction] && isSubject(rule, subject, prepared, draft.config.clusterName))
    .flatMap((compiled) => compiled[direction] ?? []);
}

/** The young are acquired before the old are released: a selector that both use stays. */
function replaceSections(
  draft: Draft,
  record: SubjectRecord,
  direction: Direction,
  origin: string,
  gone: readonly CompiledSection[],
  come: readonly CompiledSection[],
): DirectionState {
  const { subject } = record;
  const { endpointId } = subject;
  const before = record[direction];
  const young = new Map<number, Said[]>();
  const local = new Map<Said, Said>();
  for (const { text, selector, said } of come.flatMap(({ items }) => items)) {
    const here = local.get(said) ?? localized(said, direction, subject);
    local.set(said, here);
    const id = selector ? acquire(draft, text, selector, endpointId) : ANYBODY;
    young.set(id, [...(young.get(id) ?? []), here]);
  }
  const old = gone
    .flatMap(({ items }) => items)
    .map(({ text }) => (text === ANYBODY_TEXT ? ANYBODY : (draft.selectorIds.get(text) as number)));
  let { bySelector } = before;
  let isChanged = come.length !== gone.length;
  for (const id of new Set([...old, ...young.keys()])) {
    const known = bySelector.get(id) ?? [];
    const own = young.get(id) ?? [];
    // What stays the same keeps its place, so that nobody looks at it again.
    if (isSameSaid(known.filter(isOwn(origin)), own)) continue;
    isChanged = true;
    const all = [...known.filter((contribution) => contribution.origin !== origin), ...own];
    bySelector = all.length > 0 ? bySelector.set(id, all, draft.edit) : bySelector.delete(id, draft.edit);
    noteChange(draft, endpointId, direction, id);
  }
  for (const id of old) if (id !== ANYBODY) release(draft, id, endpointId);
  const denying = (sections: readonly CompiledSection[]) => sections.filter(({ defaultDeny }) => defaultDeny).length;
  const after = {
    rules: before.rules + come.length - gone.length,
    denying: before.denying + denying(come) - denying(gone),
    bySelector,
  };
  if (!isChanged && after.denying === before.denying) return before;
  noteChange(draft, endpointId, direction);
  return after;
}

const isOwn =
  (origin: string) =>
  (contribution: Said): boolean =>
    contribution.origin === origin;

function noteChange(draft: Draft, endpointId: number, direction: Direction, id?: number): void {
  let noted = draft.changedSelectors.get(endpointId);
  if (!noted) {
    noted = { ingress: new Set(), egress: new Set() };
    draft.changedSelectors.set(endpointId, noted);
  }
  if (id !== undefined) noted[direction].add(id);
}

/** Named ports of ingress are the subject's own. */
function localized(said: Said, direction: Direction, subject: Subject): Said {
  const { keys, named } = said;
  if (direction === 'egress' || named.length === 0) return said;
  const own = named.flatMap((match) => keysOf(match, subject.namedPorts));
  return { ...said, keys: [...new Set([...keys, ...own])], named: [] };
}
