/**
 * What is known of another node, and what follows from it.
 *
 * - `route` is all that rows of its pods depend on, apart from the pods: only when it changes are they looked at anew.
 */
import type { AgentFacts } from '../cluster/events.ts';
import { canonical } from '../state/tables.ts';
import { type ApiServerFact, apiServerKey } from './api-server.ts';
import { type Backoff, calm } from './backoff.ts';
import { contains, familyOf } from './cidr.ts';
import type { Hears } from './machine.ts';
import { WIREGUARD_KEY_ID } from './node-announcement.ts';
import { type Standing, standingTopic } from './node-claim.ts';
import { policyKnownTopic } from './policy-facts.ts';
import { type NodeView, viewOf } from './remote-node-view.ts';
import { addressesOfPods, podsOn, RemotePods, samePods } from './remote-pods.ts';
import { encryptionOf, endsOf, routingOf, type UnderlayFact, underlayKey } from './underlay.ts';

export type RemoteNodeEvent = Hears<
  | 'agent.started'
  | 'source.synced'
  | 'kube.upserted'
  | 'kube.deleted'
  | 'fact'
  | 'health.probed'
  | 'settled'
  | 'failed'
  | 'timer.fired'
>;

/** Of `wireguard-peer/NAME` or `ipsec-peer/NAME`. */
export interface PeerFact {
  /** This node has its own key. */
  ready: boolean;
  /** Number of the key for packets to it; 0: it has told none. */
  encryptKey: number;
}

/** How the node's addresses are reached. */
export interface Route {
  /** Ends of tunnels and encryption. */
  local: string;
  remote: string;
  tunnelEndpoint: string;
  encryptKey: number;
  podCidrs: readonly string[];
  /** Its own addresses, that no pod of it can have. */
  addresses: readonly string[];
  internal: readonly string[];
  health: readonly string[];
  /** CIDRs of it that are another node's. */
  refused: readonly string[];
  /** Ways to its pod CIDRs, where this node has routes to them. */
  ways: readonly Way[];
}
export interface Way {
  dst: string;
  dev: string;
  via: string;
  src: string;
}

export interface RemoteNodeContext {
  name: string;
  agent: AgentFacts | undefined;
  underlay: UnderlayFact | undefined;
  /** It had an object, and has none. */
  gone: boolean;
  /** CiliumNodes have all been listed: before that, a Node is not taken for one without. */
  listed: boolean;
  /** CiliumEndpoints have all been listed: before that, another one may have the better claim to an address. */
  podsListed: boolean;
  /** What its objects say, by resource. */
  views: { ciliumnodes?: NodeView; nodes?: NodeView };
  standing: Standing | undefined;
  peer: PeerFact | undefined;
  /** What policies make of its identity is wanted of the maps, where it has one of its own. */
  isPolicyKnown: boolean;
  /** Addresses of nodes that the API server is on. */
  apiServers: readonly string[];
  /** JSON makes a record of it, and it comes back from that. */
  pods: RemotePods | Parameters<typeof RemotePods.from>[0];
  /** By probe: why there was no answer; '': there was. */
  probes: Readonly<Record<string, string>>;
  /** Undefined: not yet. */
  route: Route | undefined;
  /** What is not as it should be, or missing, for people. */
  problems: readonly string[];
  /** Groups whose rows the last event may have changed: pods' addresses, and the node. */
  touched: readonly string[];
  /** The rows of all its pods, beside those. */
  touchesPods: boolean;
  backoff: Backoff;
}

/** How a problem begins that keeps packets from its pods. */
export const NO_ROUTE = 'no route to ';

/** Rows that are not a pod's. */
export const NODE_GROUP = 'node';

export const remoteNodeKey = (name: string): string => `remote-node/${name}`;
export const peerTopic = ({ name, agent }: RemoteNodeContext): string | undefined => {
  const type = agent && encryptionOf(agent).type;
  return type === undefined || type === 'none' ? undefined : `${type}-peer/${name}`;
};

export function initialContext(name: string): RemoteNodeContext {
  return {
    name,
    agent: undefined,
    underlay: undefined,
    gone: false,
    listed: false,
    podsListed: false,
    views: {},
    standing: undefined,
    peer: undefined,
    isPolicyKnown: false,
    apiServers: [],
    pods: RemotePods.none,
    probes: {},
    route: undefined,
    problems: [],
    touched: [],
    touchesPods: false,
    backoff: calm,
  };
}

export const podsIn = ({ pods }: Pick<RemoteNodeContext, 'pods'>): RemotePods =>
  pods instanceof RemotePods ? pods : RemotePods.from(pods);

export const touchedBy = (context: RemoteNodeContext): readonly string[] =>
  context.touchesPods ? [...new Set([...context.touched, ...podsIn(context).addresses()])] : context.touched;

/** A node without an agent has no CiliumNode, and is known by its Node. */
export const viewIn = ({ views }: Pick<RemoteNodeContext, 'views'>): NodeView | undefined =>
  views.ciliumnodes ?? views.nodes;

export function hear(before: RemoteNodeContext, event: RemoteNodeEvent): RemoteNodeContext {
  switch (event.type) {
    case 'kube.upserted':
    case 'kube.deleted':
      if (event.resource.startsWith('ciliumendpoint')) return hearPods(before, event);
      return considered(before, hearNode(before, event));
    case 'agent.started':
      return considered(before, { ...before, agent: event.config });
    case 'source.synced':
      if (event.source === 'kube/ciliumendpoints')
        return { ...before, podsListed: true, touched: [], touchesPods: true };
      return considered(before, { ...before, listed: true });
    case 'fact':
      if (event.topic === underlayKey)
        return considered(before, { ...before, underlay: event.value as UnderlayFact | undefined });
      if (event.topic === standingTopic) return considered(before, { ...before, standing: event.value as Standing });
      if (event.topic === apiServerKey) {
        const { nodes = [] } = (event.value ?? {}) as Partial<ApiServerFact>;
        return considered(before, { ...before, apiServers: nodes });
      }
      if (event.topic === policyKnownTopic)
        return considered(before, { ...before, isPolicyKnown: event.value === true });
      return considered(before, { ...before, peer: event.value as PeerFact | undefined });
    case 'health.probed': {
      const results = event.results.map(({ probe, error = '' }) => [probe, error] as const);
      return {
        ...before,
        touched: [],
        touchesPods: false,
        probes: { ...before.probes, ...Object.fromEntries(results) },
      };
    }
    default:
      return before;
  }
}

type ObjectEvent = Extract<RemoteNodeEvent, { type: 'kube.upserted' | 'kube.deleted' }>;

function hearNode(before: RemoteNodeContext, { type, resource, object }: ObjectEvent): RemoteNodeContext {
  const { [resource as 'nodes']: _, ...others } = before.views;
  const views = type === 'kube.deleted' ? others : { ...others, [resource]: viewOf(resource, object) };
  const now: RemoteNodeContext = { ...before, views };
  now.gone = type === 'kube.deleted' && viewIn(now) === undefined;
  if (canonical(viewIn(now)?.addresses) === canonical(viewIn(before)?.addresses)) return now;
  // What is on an address that is no longer the node's is not on this node; topics of new addresses tell of the others.
  return { ...now, pods: podsIn(now).on(endpointNodes(now)) };
}

function hearPods(before: RemoteNodeContext, { type, resource, object }: ObjectEvent): RemoteNodeContext {
  const { namespace, name } = object.metadata;
  const source = `${resource}/${namespace ? `${namespace}/` : ''}${name}`;
  const nodes = endpointNodes(before);
  const pods = type === 'kube.deleted' ? [] : podsOn(nodes, object);
  const all = podsIn(before);
  const known = all.of(source);
  if (samePods(known, pods)) return before;
  const touched = [...new Set([...addressesOfPods(known), ...addressesOfPods(pods)])];
  return { ...before, pods: all.with(source, pods), touched, touchesPods: false };
}

/** What endpoints of this node name it by. */
export function endpointNodes(context: RemoteNodeContext): string[] {
  return [...new Set([context.name, ...(viewIn(context)?.addresses ?? [])])];
}

/** With the route that follows, and the rows that may differ. */
function considered(before: RemoteNodeContext, now: RemoteNodeContext): RemoteNodeContext {
  const { route, problems } = routeOf(now);
  const isSame = canonical(route) === canonical(before.route);
  const keepsPods = before.pods === now.pods || podsIn(before).isSame(podsIn(now));
  const left = keepsPods ? [] : podsIn(before).addresses();
  return {
    ...now,
    route: isSame ? before.route : route,
    problems: canonical(problems) === canonical(before.problems) ? before.problems : problems,
    touched: [NODE_GROUP, ...left],
    touchesPods: !isSame || !keepsPods,
  };
}

interface Outcome {
  route: Route | undefined;
  problems: string[];
}

function routeOf(context: RemoteNodeContext): Outcome {
  const { agent, underlay, listed, standing, peer, name } = context;
  const view = viewIn(context);
  const not = (problem: string): Outcome => ({ route: undefined, problems: [problem] });
  if (!agent || !view) return not('its CiliumNode has not been seen');
  if (!listed) return not('CiliumNodes have not all been listed');
  if (!underlay) return not('this node has no pod CIDR yet');
  if (!standing) return not('its addresses have not been compared with others');
  const routing = routingOf(agent);
  const { type } = encryptionOf(agent);
  const refused = Object.keys(standing.refused).sort();
  const free = (addresses: readonly string[]): string[] =>
    addresses.filter((one) => one !== '' && !refused.some((cidr) => contains(cidr, one)));
  const conflicts = Object.entries(standing.refused).map(([cidr, by]) => `${cidr} is in use by node ${by}`);
  const problems = [...view.problems, ...conflicts.sort()];
  const own = { ipv4: underlay.ipv4, ipv6: underlay.ipv6 };
  const its = { ipv4: free([view.ends.ipv4])[0] ?? '', ipv6: free([view.ends.ipv6])[0] ?? '' };
  const ends = endsOf(
    routing.mode === 'native' && type === 'none' ? { ...routing, underlay: 'auto' } : routing,
    own,
    its,
  );
  if (!ends)
    return {
      route: undefined,
      problems: [...problems, `node ${name} has no ${familyName(routing.underlay)} address in common with this node`],
    };
  const isOn = (cidr: string): boolean => (familyOf(cidr) === 4 ? agent.ipv4 : agent.ipv6);
  const podCidrs = view.podCidrs.filter((cidr) => isOn(cidr) && !refused.includes(cidr));
  const { ways, unreached } = waysTo(podCidrs, its, agent, underlay);
  const keyless = keylessness(type, peer, name);
  return {
    route: {
      local: ends.local,
      remote: ends.remote,
      // IPsec looks up the node's key there without a tunnel too.
      tunnelEndpoint: routing.mode === 'native' && type !== 'ipsec' ? '' : ends.remote,
      encryptKey: encryptKeyOf(context, view),
      podCidrs,
      addresses: free(view.addresses),
      internal: free(view.internal),
      health: free(view.health),
      refused,
      ways,
    },
    problems: [...problems, ...keyless, ...unreached],
  };
}

/**
 * While this node has no key of its own, as at its start, nothing goes in clear: nothing goes at all. In strict mode that is so for
 * nodes that have told no key, too.
 */
function encryptKeyOf({ agent, peer }: RemoteNodeContext, { keyId }: NodeView): number {
  const { type, strict } = encryptionOf(agent as AgentFacts);
  const unusable = { none: 0, wireguard: WIREGUARD_KEY_ID, ipsec: keyId || 1 }[type];
  if (!peer?.ready) return unusable;
  return peer.encryptKey || (strict ? unusable : 0);
}

function keylessness(type: 'none' | 'wireguard' | 'ipsec', peer: PeerFact | undefined, name: string): string[] {
  if (type === 'none' || peer?.encryptKey) return [];
  return [peer?.ready ? `node ${name} has told no key of ${type}` : `this node has no key of ${type} yet`];
}

const familyName = (underlay: 'ipv4' | 'ipv6' | 'auto'): string =>
  ({ ipv4: 'IPv4', ipv6: 'IPv6', auto: 'InternalIP' })[underlay];

function waysTo(
  podCidrs: readonly string[],
  its: { ipv4: string; ipv6: string },
  agent: AgentFacts,
  underlay: UnderlayFact,
): { ways: Way[]; unreached: string[] } {
  const { mode, autoDirectNodeRoutes } = routingOf(agent);
  const ways: Way[] = [];
  const unreached: string[] = [];
  for (const dst of podCidrs) {
    const isIpv4 = familyOf(dst) === 4;
    if (mode !== 'native') {
      ways.push({ dst, dev: 'cilium_host', via: '', src: isIpv4 ? underlay.gateway4 : underlay.gateway6 });
    } else if (autoDirectNodeRoutes) {
      const via = isIpv4 ? its.ipv4 : its.ipv6;
      const network = via && underlay.networks.find(({ address }) => contains(address, via));
      if (network) ways.push({ dst, dev: network.dev, via, src: '' });
      else
        unreached.push(
          `${NO_ROUTE}${dst}: ${via ? `address ${via} is on no network of this node` : `it has no IPv${isIpv4 ? 4 : 6} address`}, as autoDirectNodeRoutes needs it`,
        );
    }
  }
  return { ways, unreached };
}
