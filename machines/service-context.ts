/**
 * What a service knows, what it hears, and how the one changes by the other; its machine is in `service.ts`.
 *
 * - What slices say is kept parsed; a changed slice changes the sets of its own family only.
 * - `touched` names the groups of rows that the last message may have changed; see `service-groups.ts`.
 */
import type { KubeObject } from '../cluster/events.ts';
import { type Backoff, calm } from './backoff.ts';
import type { Hears } from './machine.ts';
import { type Claim, claimedKey, type Rivals, rivalsOf, winnerOver, withRival } from './service-claims.ts';
import { type Groups, regroup, ungrouped } from './service-groups.ts';
import { type ServiceNodeFact, serviceNodeKey } from './service-node.ts';
import {
  type Choice,
  clusterChoice,
  type Family,
  localChoice,
  localReady,
  type SliceFacts,
  sliceFacts,
} from './service-slices.ts';
import { type Frontend, frontendsOf, type ServiceSpec, serviceSpec } from './service-spec.ts';

export interface ServiceContext {
  key: string;
  /** `namespace/name`. */
  service: string;
  spec: ServiceSpec | undefined;
  slices: Readonly<Record<string, SliceFacts>>;
  node: ServiceNodeFact | undefined;
  /** An object was heard of: without one from then on there is nothing to be for. */
  isHeard: boolean;
  frontends: readonly Frontend[];
  /** By key of `bpf.backend-sets`. */
  sets: Readonly<Record<string, ChosenSet>>;
  localEndpoints: number;
  rivals: Rivals;
  /** Frontends that another has, and who. */
  lost: Readonly<Record<string, Claim>>;
  /** When the first of them was lost, or the last of them was won. */
  lostAtMs: number;
  groups: Groups;
  backoff: Backoff;
}
export interface ChosenSet extends Choice {
  family: Family;
  /** Traffic from outside chooses from it. */
  external: boolean;
}

export type ServiceEvent = Hears<'kube.upserted' | 'kube.deleted' | 'fact' | 'settled' | 'failed' | 'timer.fired'>;

export function initialContext(key: string): ServiceContext {
  return {
    key,
    service: key.slice(key.indexOf('/') + 1),
    spec: undefined,
    slices: {},
    node: undefined,
    isHeard: false,
    frontends: [],
    sets: {},
    localEndpoints: 0,
    rivals: {},
    lost: {},
    lostAtMs: 0,
    groups: ungrouped,
    backoff: calm,
  };
}

export function learn(context: ServiceContext, event: ServiceEvent): ServiceContext {
  switch (event.type) {
    case 'kube.upserted':
    case 'kube.deleted': {
      const object = event.type === 'kube.upserted' ? event.object : undefined;
      if (event.resource === 'endpointslices') return learnSlice(context, event.object.metadata.name, object);
      return asked({ ...context, isHeard: true, spec: object && serviceSpec(object) }, event.at);
    }
    case 'fact': {
      if (event.topic === serviceNodeKey)
        return asked({ ...context, node: event.value as ServiceNodeFact | undefined }, event.at);
      const key = claimedKey(event.topic);
      if (key === undefined || event.from === context.key) return context;
      const rivals = withRival(context.rivals, key, event.from, event.value as Claim | undefined);
      return rivals === context.rivals ? context : contested({ ...context, rivals }, event.at);
    }
    default:
      return context;
  }
}

function learnSlice(context: ServiceContext, name: string, object: KubeObject | undefined): ServiceContext {
  const before = context.slices[name];
  const after = object && sliceFacts(object, before);
  if (!before && !after) return context.isHeard ? context : { ...context, isHeard: true };
  const slices = { ...context.slices };
  if (after) slices[name] = after;
  else delete slices[name];
  const families = [before?.family, after?.family];
  return chosen({ ...context, isHeard: true, slices }, families, { name, before, after });
}

/** The Service or the node changed: everything that follows from them. */
function asked(context: ServiceContext, at: number): ServiceContext {
  const { spec, node, rivals } = context;
  const frontends = spec && node ? frontendsOf(spec, node) : [];
  const keys = new Set(frontends.map(({ key }) => key));
  const now = contested({ ...context, frontends, rivals: rivalsOf(rivals, keys) }, at);
  return chosen(now, ['IPv4', 'IPv6']);
}

export const claimOf = ({ service, spec }: ServiceContext, { type }: Frontend): Claim => ({
  type,
  owner: service,
  created: spec?.created ?? '',
  leaving: false,
});

function contested(context: ServiceContext, at: number): ServiceContext {
  const lost: Record<string, Claim> = {};
  for (const frontend of context.frontends) {
    const winner = winnerOver(claimOf(context, frontend), context.rivals, frontend.key);
    if (winner) lost[frontend.key] = winner;
  }
  const isSame = context.lostAtMs > 0 && Object.keys(context.lost).length > 0 === Object.keys(lost).length > 0;
  return { ...context, lost, lostAtMs: isSame ? context.lostAtMs : at, groups: { ...context.groups, touched: [] } };
}

/** Key of the set that a frontend's connections from inside, or from outside, choose from. */
export function setOf({ service, spec }: ServiceContext, frontend: Frontend, from: 'inside' | 'outside'): string {
  const { type, family, port } = frontend;
  const isLocal =
    type === 'ClusterIP' ? spec?.internalLocal === true : from === 'outside' && spec?.externalLocal === true;
  return `${service}:${port.name}/${family}${isLocal ? '/local' : ''}`;
}

interface ChangedSlice {
  name: string;
  before: SliceFacts | undefined;
  after: SliceFacts | undefined;
}

/** Makes the sets of these families anew. */
function chosen(
  context: ServiceContext,
  families: readonly (Family | undefined)[],
  changed?: ChangedSlice,
): ServiceContext {
  const { node, slices } = context;
  const sets: Record<string, ChosenSet> = {};
  for (const [key, set] of Object.entries(context.sets)) if (!families.includes(set.family)) sets[key] = set;
  const all = Object.values(slices);
  for (const frontend of node ? context.frontends : []) {
    if (!node || !families.includes(frontend.family)) continue;
    const isOutside = frontend.type !== 'ClusterIP';
    for (const from of ['inside', 'outside'] as const) {
      const key = setOf(context, frontend, from);
      const known = sets[key];
      const external = isOutside && from === 'outside';
      if (known) {
        if (external && !known.external) sets[key] = { ...known, external };
        continue;
      }
      const ofFamily = all.filter(({ family }) => family === frontend.family);
      const choice = (key.endsWith('/local') ? localChoice : clusterChoice)(ofFamily, frontend.port, node);
      sets[key] = { ...choice, family: frontend.family, external };
    }
  }
  const localEndpoints = node && context.spec?.healthPort ? localReady(all, node) : 0;
  const changedSets = (wasBig: boolean): string[] => {
    const all = Object.entries({ ...context.sets, ...sets });
    // What becomes big moves all its rows into groups.
    return all.filter(([, { family }]) => !wasBig || families.includes(family)).map(([key]) => key);
  };
  const groups = regroup(context.groups, slices, changedSets, changed);
  return { ...context, sets, localEndpoints, groups };
}
