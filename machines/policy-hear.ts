/** What the policy machine hears, as changes of the resolver's inputs. */
import type { AgentFacts, KubeObject } from '../cluster/events.ts';
import type { Change, CidrGroup, IdentityLabels, NamedPort, Subject } from '../policy/change.ts';
import { cidrIdentityLabels } from '../policy/resolver.ts';
import type { Policy } from '../policy/rule.ts';
import { canonical } from '../state/tables.ts';
import { type ApiServerFact, apiServerKey } from './api-server.ts';
import { canonicalCidr, hostCidr } from './cidr.ts';
import type { Hears } from './machine.ts';
import { type NodeIdentityFact, nodeIdentitiesTopic } from './node-identity.ts';
import { change, nextAfter, statusGroup } from './policy-apply.ts';
import {
  HOST_ENDPOINT,
  objectsOf,
  type PolicyContext,
  type PolicyObject,
  rememberedOf,
  resolverConfig,
  stateOf,
} from './policy-context.ts';
import type { SubjectFact } from './policy-facts.ts';
import { hearNodeIdentity } from './policy-nodes.ts';
import { isPolicyResource, judge, keyOf, namesServices, type PolicyResource } from './policy-objects.ts';
import { hearPeerPorts, namesPeerPorts, withoutPeerPorts } from './policy-ports.ts';
import { hearService, hearSlice } from './policy-services.ts';
import { endpointGroup, HOST_GROUP, mapGroup } from './policy-settle.ts';
import { isTold } from './policy-status.ts';
import { Records, recordsOf } from './records.ts';

export type PolicyEvent = Hears<
  | 'agent.started'
  | 'local.restored'
  | 'source.synced'
  | 'kube.upserted'
  | 'kube.deleted'
  | 'fact'
  | 'settled'
  | 'failed'
  | 'timer.fired'
>;
type ObjectEvent = Extract<PolicyEvent, { type: 'kube.upserted' | 'kube.deleted' }>;

const HOST_IDENTITY = 1;

/** The context after an event; the same one when it says nothing new. */
export function hear(before: PolicyContext, event: PolicyEvent): PolicyContext {
  const context = rested(before);
  switch (event.type) {
    case 'agent.started':
      return configured(context, event.config);
    case 'local.restored': {
      const { cidrIdentities = {}, policies = [] } = event;
      const numbers = Object.entries(cidrIdentities).map(([cidr, number]) => [String(number), cidr]);
      return {
        ...context,
        cidrs: Records.from(cidrIdentities),
        numbers: Records.from(Object.fromEntries(numbers)),
        // A number that is free is not soon another's, not even over a restart: its rows may still be there.
        nextCidr: event.nextCidr ?? nextAfter(Object.values(cidrIdentities)),
        // Those that no policy names go once everything is known.
        retired: Object.keys(cidrIdentities),
        remembered: rememberedOf(policies),
      };
    }
    case 'source.synced':
      return context.synced.includes(event.source)
        ? context
        : { ...context, synced: [...context.synced, event.source].sort() };
    case 'kube.upserted':
    case 'kube.deleted':
      return hearObject(context, event);
    case 'fact':
      if (event.topic === apiServerKey) return hearApiServer(context, event.value as ApiServerFact | undefined);
      if (event.topic === nodeIdentitiesTopic)
        return hearNodeIdentity(context, event.from, event.value as NodeIdentityFact | undefined);
      return hearSubject(context, event.from, event.value as SubjectFact | undefined);
    default:
      return context;
  }
}

export const rested = (context: PolicyContext): PolicyContext =>
  context.touched.length > 0 ? { ...context, touched: [] } : context;

function configured(context: PolicyContext, agent: AgentFacts): PolicyContext {
  const config: Change = { type: 'config.changed', config: resolverConfig(agent) };
  const withoutHost: Change[] = agent.policy?.hostFirewall
    ? []
    : [{ type: 'subject.removed', endpointId: HOST_ENDPOINT }];
  const next = change({ ...context, agent }, [config, ...withoutHost]);
  if (!next.known) return next;
  const endpoints = recordsOf(next.endpoints).keys().map(Number);
  const groups = endpoints.flatMap((id) => [mapGroup(id), endpointGroup(id)]);
  return { ...next, touched: [...next.touched, ...groups] };
}

function hearObject(context: PolicyContext, event: ObjectEvent): PolicyContext {
  const { resource, object } = event;
  const gone = event.type === 'kube.deleted';
  if (isPolicyResource(resource))
    return gone ? forget(context, resource, object) : learn(context, resource, object, event.at);
  switch (resource) {
    case 'ciliumidentities':
      return hearIdentity(context, object, gone);
    case 'ciliumcidrgroups': {
      const { name, labels = {} } = object.metadata;
      const { externalCIDRs = [] } = (object.spec ?? {}) as { externalCIDRs?: string[] };
      const cidrs = externalCIDRs.flatMap((cidr) => canonicalCidr(cidr.includes('/') ? cidr : hostCidr(cidr)) ?? []);
      const group: CidrGroup = { name, labels, cidrs };
      return change(context, [gone ? { type: 'cidr-group.removed', name } : { type: 'cidr-group.upserted', group }]);
    }
    case 'services':
      return hearService(context, object, gone);
    case 'endpointslices':
      return hearSlice(context, object, gone);
    case 'nodes':
      return hearNode(context, object, gone);
    case 'ciliumendpoints':
    case 'ciliumendpointslices':
      return hearPorts(context, resource, object, gone);
    default:
      return context;
  }
}

// --- policies

/** An object that is not valid leaves its last valid version in force. */
function learn(context: PolicyContext, resource: PolicyResource, object: KubeObject, at: number): PolicyContext {
  const { key, policy, problems, needsL7 } = judge(resource, object);
  const text = canonical([object.spec, object.specs]);
  const before = objectsOf(context).get(key);
  const { generation = 1 } = object.metadata as { generation?: number };
  if (before?.text === text) {
    // Once it is told nobody here says otherwise: nodes that disagree would never come to an end.
    if (before.isTold || !isTold(object, before)) return context;
    return withObject(context, key, { ...before, isTold: true });
  }
  const isValid = problems.length === 0;
  const wasValid = before !== undefined && before.problems.length === 0;
  const remembered = before === undefined && !isValid ? context.remembered[key] : undefined;
  const judged = {
    resource,
    apiVersion: object.apiVersion,
    kind: object.kind,
    namespace: object.metadata.namespace ?? '',
    name: object.metadata.name,
    generation,
    text,
    problems,
    needsL7,
    sinceMs: before && wasValid === isValid ? before.sinceMs : at,
    lastValid: isValid ? policy : (before?.lastValid ?? remembered),
  };
  const now: PolicyObject = { ...judged, isTold: isTold(object, judged) };
  const said = withObject(context, key, now);
  const inForce = isValid ? policy : remembered;
  return inForce ? change(said, [{ type: 'policy.upserted', policy: inForce }]) : said;
}

function forget(context: PolicyContext, resource: PolicyResource, object: KubeObject): PolicyContext {
  const key = keyOf(resource, object);
  if (!objectsOf(context).get(key)) return context;
  const said = withObject(context, key, undefined);
  return change(said, [{ type: 'policy.removed', key }]);
}

function withObject(context: PolicyContext, key: string, now: PolicyObject | undefined): PolicyContext {
  const objects = objectsOf(context);
  const before = objects.get(key);
  const more = (names: (policy: Policy) => boolean): number => {
    const count = (object: PolicyObject | undefined): number => (object?.lastValid && names(object.lastValid) ? 1 : 0);
    return count(now) - count(before);
  };
  const next = {
    ...context,
    objects: objects.with(key, now),
    namingServices: context.namingServices + more(namesServices),
    namingPorts: context.namingPorts + more(namesPeerPorts),
    touched: [...context.touched, statusGroup(key)],
  };
  return context.namingPorts > 0 && next.namingPorts === 0 ? withoutPeerPorts(next) : next;
}

// --- identities

const isBorne = ({ bearers }: PolicyContext, identity: number): boolean =>
  recordsOf(bearers).get(identity) !== undefined;

function hearIdentity(context: PolicyContext, object: KubeObject, gone: boolean): PolicyContext {
  const identity = Number(object.metadata.name);
  if (!Number.isInteger(identity) || identity <= 0) return context;
  if (gone && isBorne(context, identity)) return { ...context, orphaned: [...context.orphaned, identity] };
  if (gone) return change(context, [{ type: 'identity.removed', identity }]);
  const isOrphan = context.orphaned.includes(identity);
  const orphaned = isOrphan ? context.orphaned.filter((one) => one !== identity) : context.orphaned;
  const labels = (object['security-labels'] ?? {}) as IdentityLabels;
  return change({ ...context, orphaned }, [upserted(context, identity, labels)]);
}

/** With the named ports of all who bear it. */
function upserted({ bearers, portBearers }: PolicyContext, identity: number, labels: IdentityLabels): Change {
  const ports = new Map<string, NamedPort>();
  const texts = [bearers, portBearers].flatMap((all) => Object.keys(recordsOf(all).get(identity) ?? {}));
  for (const text of texts) for (const port of JSON.parse(text) as NamedPort[]) ports.set(canonical(port), port);
  const namedPorts = [...ports].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, port]) => port);
  return { type: 'identity.upserted', identity: { identity, labels, ...(namedPorts.length > 0 && { namedPorts }) } };
}

function hearPorts(before: PolicyContext, resource: string, object: KubeObject, gone: boolean): PolicyContext {
  const { context, identities } = hearPeerPorts(before, resource, object, gone);
  // One that is not known yet has them when it comes.
  const changes = identities.flatMap((identity) => {
    const labels = labelsOf(context, identity);
    return labels ? [upserted(context, identity, labels)] : [];
  });
  return changes.length > 0 ? change(context, changes) : context;
}

function labelsOf(context: PolicyContext, identity: number): IdentityLabels | undefined {
  for (const block of [...context.waiting].reverse())
    for (const one of [...block].reverse())
      if (one.type === 'identity.upserted' && one.identity.identity === identity) return one.identity.labels;
  return stateOf(context).tables.identities.get(identity)?.identity.labels;
}

function withBearer({ bearers }: PolicyContext, fact: SubjectFact | undefined, by: 1 | -1): PolicyContext['bearers'] {
  const records = recordsOf(bearers);
  if (!fact) return records;
  const { identity, namedPorts } = fact;
  const text = canonical(namedPorts);
  const { [text]: count = 0, ...others } = records.get(identity) ?? {};
  const now = count + by > 0 ? { ...others, [text]: count + by } : others;
  return records.with(identity, Object.keys(now).length > 0 ? now : undefined);
}

const NO_API_SERVER: ApiServerFact = { outside: [], nodes: [], isHere: false };
const API_SERVER = { 'reserved:kube-apiserver': '' };

/** The node that it is on, and the addresses on no node that it has. */
function hearApiServer(context: PolicyContext, now = NO_API_SERVER): PolicyContext {
  const before = context.apiServer ?? NO_API_SERVER;
  const has = (fact: ApiServerFact, identity: number, address: string): boolean =>
    fact.outside.some((one) => one.identity === identity && one.address === address);
  const changes: Change[] = [];
  for (const { identity } of before.outside)
    if (!now.outside.some((one) => one.identity === identity)) changes.push({ type: 'identity.removed', identity });
  for (const { identity, address } of now.outside) {
    if (has(before, identity, address)) continue;
    const labels = { ...cidrIdentityLabels(hostCidr(address), context.agent), ...API_SERVER };
    changes.push({ type: 'identity.upserted', identity: { identity, labels } });
  }
  if (now.isHere !== before.isHere) {
    const labels = { 'reserved:host': '', ...(now.isHere && API_SERVER) };
    changes.push({ type: 'identity.upserted', identity: { identity: HOST_IDENTITY, labels } });
  }
  return change({ ...context, apiServer: now }, changes);
}

// --- subjects

function hearSubject(context: PolicyContext, from: string, fact: SubjectFact | undefined): PolicyContext {
  const subjects = recordsOf(context.subjects);
  const before = subjects.get(from);
  if (!fact && !before) return context;
  // An endpoint may have an identity whose object went while no agent was there.
  const isStray = fact !== undefined && fact.identity !== before?.identity && !isHeardOf(context, fact.identity);
  const orphaned = isStray ? [...context.orphaned, fact.identity] : context.orphaned;
  const left = { ...context, bearers: withBearer(context, before, -1) };
  let machines = recordsOf(context.machines);
  if (before && machines.get(before.endpointId) === from) machines = machines.with(before.endpointId, undefined);
  if (fact) machines = machines.with(fact.endpointId, from);
  const bearers = withBearer(left, fact, 1);
  const next = { ...context, subjects: subjects.with(from, fact), machines, bearers, orphaned };
  const changes: Change[] = [];
  if (fact) {
    const { endpointId, identity, labels, namedPorts } = fact;
    if (before && before.endpointId !== endpointId)
      changes.push({ type: 'subject.removed', endpointId: before.endpointId });
    const subject: Subject = { endpointId, identity, labels, namedPorts, host: false };
    changes.push(upserted(next, identity, labels), { type: 'subject.upserted', subject });
  } else if (before) changes.push({ type: 'subject.removed', endpointId: before.endpointId });
  const heard =
    before && before.identity !== fact?.identity ? withoutBearer(next, before, changes) : change(next, changes);
  // Whether it is audited is nobody else's concern.
  return fact && before && fact.audit !== before.audit
    ? { ...heard, touched: [...heard.touched, endpointGroup(fact.endpointId)] }
    : heard;
}

function isHeardOf(context: PolicyContext, identity: number): boolean {
  if (stateOf(context).tables.identities.has(identity)) return true;
  return context.waiting.some((block) =>
    block.some((one) => one.type === 'identity.upserted' && one.identity.identity === identity),
  );
}

/** Others may bear the identity that a subject had; if its object is gone and nobody does, it is gone too. */
function withoutBearer(context: PolicyContext, { identity, labels }: SubjectFact, changes: Change[]): PolicyContext {
  if (isBorne(context, identity)) return change(context, [...changes, upserted(context, identity, labels)]);
  if (!context.orphaned.includes(identity)) return change(context, changes);
  const orphaned = context.orphaned.filter((one) => one !== identity);
  return change({ ...context, orphaned }, [...changes, { type: 'identity.removed', identity }]);
}

// --- the node

function hearNode(context: PolicyContext, object: KubeObject, gone: boolean): PolicyContext {
  if (!context.agent.policy?.hostFirewall || gone || object.metadata.name !== context.agent.nodeName) return context;
  const labels = Object.entries(object.metadata.labels ?? {}).map(([key, value]) => [`k8s:${key}`, value] as const);
  const subject: Subject = {
    endpointId: HOST_ENDPOINT,
    identity: HOST_IDENTITY,
    labels: { ...Object.fromEntries(labels), 'reserved:host': '' },
    namedPorts: [],
    host: true,
  };
  const touched = [...context.touched, HOST_GROUP];
  return change({ ...context, touched }, [{ type: 'subject.upserted', subject }]);
}
