/**
 * Pods of another node: what CiliumEndpoints and slices of them say of addresses.
 *
 * - Where several claim one address, the youngest object has it, then the one whose name is first: a pod's address goes to another
 *   pod while the object of the first is still there.
 */
import type { KubeObject } from '../cluster/events.ts';
import { canonicalAddress } from './cidr.ts';
import { reservedIdentities } from './identity.ts';

/** One pod as one object tells it. */
export interface RemotePod {
  /** Address or name of its node, as the object has it. */
  node: string;
  addresses: readonly string[];
  identity: number;
  created: string;
}

/** By object, as `resource/name`; a slice tells of many. */
export type RemotePods = Readonly<Record<string, readonly RemotePod[]>>;

interface Networking {
  addressing?: unknown;
  node?: unknown;
}

/** Pods that an object says are on a node with one of these addresses. */
export function podsOn(nodes: readonly string[], object: KubeObject): RemotePod[] {
  const created = object.metadata.creationTimestamp ?? '';
  if (Array.isArray(object['endpoints']))
    return (object['endpoints'] as unknown[]).flatMap((one) => {
      const { id, networking } = (one ?? {}) as { id?: unknown; networking?: Networking };
      return podOn(nodes, networking, id, '');
    });
  const { identity, networking } = (object.status ?? {}) as { identity?: { id?: unknown }; networking?: Networking };
  return podOn(nodes, networking, identity?.id, created);
}

function podOn(
  nodes: readonly string[],
  networking: Networking | undefined,
  id: unknown,
  created: string,
): RemotePod[] {
  if (typeof networking?.node !== 'string' || !nodes.includes(networking.node)) return [];
  const { addressing } = networking;
  const addresses = (Array.isArray(addressing) ? addressing : []).flatMap((pair) => {
    const { ipv4, ipv6 } = (pair ?? {}) as { ipv4?: unknown; ipv6?: unknown };
    return [ipv4, ipv6].flatMap((one) => (typeof one === 'string' ? (canonicalAddress(one) ?? []) : []));
  });
  const isKnown = typeof id === 'number' && Number.isInteger(id) && id > 0;
  // As Cilium takes a pod that has no identity yet.
  const identity = isKnown ? id : (reservedIdentities['unmanaged'] ?? 0);
  return addresses.length > 0 ? [{ node: networking.node, addresses, identity, created }] : [];
}

/** Those of nodes that have these addresses. */
export function podsStillOn(nodes: readonly string[], pods: RemotePods): RemotePods {
  const left = Object.entries(pods).map(
    ([source, all]) => [source, all.filter(({ node }) => nodes.includes(node))] as const,
  );
  return Object.fromEntries(left.filter(([, all]) => all.length > 0));
}

export const addressesOfPods = (pods: readonly RemotePod[]): string[] => pods.flatMap(({ addresses }) => addresses);

/** Whose address it is. */
export function podWith(pods: RemotePods, address: string): RemotePod | undefined {
  let found: RemotePod | undefined;
  let of = '';
  for (const source in pods)
    for (const pod of pods[source] ?? []) {
      if (!pod.addresses.includes(address)) continue;
      const isBetter =
        found === undefined || pod.created > found.created || (pod.created === found.created && source < of);
      if (!isBetter) continue;
      found = pod;
      of = source;
    }
  return found;
}
