/** What another node and its pods need here. */
import type { AgentFacts } from '../cluster/events.ts';
import {
  type HealthProbeRow,
  healthProbeKey,
  type IpcacheRow,
  type RouteRow,
  type Row,
  routeKey,
} from '../state/tables.ts';
import { contains, familyOf, hostCidr } from './cidr.ts';
import { reservedIdentities } from './identity.ts';
import { fnv1a } from './naming.ts';
import { ownIdentityOf } from './node-identity.ts';
import { podsIn, type RemoteNodeContext, type Route } from './remote-node-context.ts';
import { encryptionOf, healthOf, overheadOf, routingOf } from './underlay.ts';

/** One address of a pod. */
export function podRows(context: RemoteNodeContext, address: string): Row[] {
  const { agent, route, podsListed } = context;
  if (!agent || !route || !podsListed || route.addresses.includes(address) || route.internal.includes(address))
    return [];
  if (!(familyOf(address) === 4 ? agent.ipv4 : agent.ipv6)) return [];
  if (route.refused.some((cidr) => contains(cidr, address))) return [];
  const pod = podsIn(context).podAt(address);
  return pod ? [ipcache(hostCidr(address), pod.identity, route.tunnelEndpoint, route.encryptKey)] : [];
}

export function nodeRows(context: RemoteNodeContext): Row[] {
  const { agent, route } = context;
  if (!agent || !route) return [];
  return [
    ...addressRows(context, route),
    ...cidrRows(context, route),
    ...routeRows(context, route),
    ...probeRows(context),
  ];
}

const ipcache = (key: string, identity: number, tunnelEndpoint: string, encryptKey: number): Row => ({
  table: 'bpf.ipcache',
  key,
  value: { identity, tunnelEndpoint, encryptKey, flags: 0 } satisfies IpcacheRow,
});

function addressRows(context: RemoteNodeContext, route: Route): Row[] {
  const { agent, apiServers, isPolicyKnown } = context;
  const own = ownIdentityOf(context);
  // Until then the maps say what they said before the start: packets of an identity without entries would be dropped.
  if (own !== undefined && !isPolicyKnown) return [];
  const { type, nodeEncryption } = encryptionOf(agent as NonNullable<typeof agent>);
  const identityOf = (address: string): number =>
    own ?? reservedIdentities[apiServers.includes(address) ? 'kube-apiserver' : 'remote-node'] ?? 0;
  const nodeKey = type === 'wireguard' && nodeEncryption ? route.encryptKey : 0;
  const { addresses, internal, health, tunnelEndpoint, encryptKey } = route;
  const isNode = new Set([...addresses, ...internal]);
  return [
    ...addresses.map((address) => ipcache(hostCidr(address), identityOf(address), '', nodeKey)),
    // Inside the pod CIDR: reached as pods are.
    ...internal
      .filter((address) => !addresses.includes(address))
      .map((address) => ipcache(hostCidr(address), identityOf(address), tunnelEndpoint, encryptKey)),
    ...health
      .filter((address) => !isNode.has(address))
      .map((address) => ipcache(hostCidr(address), reservedIdentities['health'] ?? 0, tunnelEndpoint, encryptKey)),
  ];
}

/** Pods that are not known yet are found too. */
function cidrRows({ agent }: RemoteNodeContext, { podCidrs, tunnelEndpoint, encryptKey }: Route): Row[] {
  if (!agent || (tunnelEndpoint === '' && encryptionOf(agent).type === 'none')) return [];
  const world = (cidr: string): number =>
    reservedIdentities[agent.ipv4 && agent.ipv6 ? `world-ipv${familyOf(cidr)}` : 'world'] ?? 0;
  return podCidrs.map((cidr) => ipcache(cidr, world(cidr), tunnelEndpoint, encryptKey));
}

function routeRows({ agent, underlay }: RemoteNodeContext, { ways, remote }: Route): Row[] {
  if (!agent || !underlay) return [];
  const overhead = overheadOf(agent, remote);
  const mtu = overhead > 0 || routingOf(agent).mode !== 'native' ? underlay.mtu - overhead : 0;
  return ways.map((way): Row => {
    const value: RouteRow = { netns: '', type: 'unicast', ...way, mtu };
    return { table: 'routes', key: routeKey(value), value };
  });
}

function probeRows(context: RemoteNodeContext): Row[] {
  return probesOf(context).map((value): Row => ({ table: 'health.probes', key: healthProbeKey(value), value }));
}

/**
 * ICMP and TCP, to the node and, the way that its pods are reached, to its health endpoint; each node has its moment in the interval.
 *
 * - A node without a health endpoint has its own address inside its pod range asked, over each family.
 */
export function probesOf({ name, agent, route }: RemoteNodeContext): HealthProbeRow[] {
  if (!agent || !route) return [];
  const { enabled, intervalMs, port } = healthOf(agent);
  if (!enabled) return [];
  const offsetMs = Number.parseInt(fnv1a(name).slice(-8), 16) % intervalMs;
  const targets = [
    { target: 'node' as const, address: route.remote },
    ...endpointsOf(agent, route).map((address) => ({ target: 'endpoint' as const, address })),
  ];
  return targets.flatMap((target) => [
    { node: name, ...target, protocol: 'ICMP' as const, port: 0, intervalMs, offsetMs },
    { node: name, ...target, protocol: 'TCP' as const, port, intervalMs, offsetMs },
  ]);
}

function endpointsOf(agent: AgentFacts, { health, internal, addresses }: Route): string[] {
  const isOn = (address: string): boolean => (familyOf(address) === 4 ? agent.ipv4 : agent.ipv6);
  const inside = health.length > 0 ? health : internal;
  return inside.filter((address) => isOn(address) && !addresses.includes(address));
}

/** What probes of the node itself say: one answer is enough. */
export function verdictOf({ name, agent, route, probes }: RemoteNodeContext): 'reachable' | 'unreachable' | 'unknown' {
  if (!agent || !route || !healthOf(agent).enabled) return 'unknown';
  const said = (['ICMP', 'TCP'] as const).map(
    (protocol) => probes[healthProbeKey({ node: name, target: 'node', protocol, address: route.remote })],
  );
  if (said.includes('')) return 'reachable';
  return said.every((error) => error !== undefined) ? 'unreachable' : 'unknown';
}
