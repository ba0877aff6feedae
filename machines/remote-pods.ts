/**
 * Pods of another node: what CiliumEndpoints and slices of them say of addresses.
 *
 * - Where several claim one address, the youngest object has it, then the one whose name is first: a pod's address goes to another
 *   pod while the object of the first is still there.
 */
import type { KubeObject } from '../cluster/events.ts';
import { PersistentMap } from '../policy/persistent-map.ts';
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
type PodsBySource = Readonly<Record<string, readonly RemotePod[]>>;

/** Sources that are about one pod, and bear its name. */
const BY_POD = 'ciliumendpoints/';

/** The pods of a node as a value that a change does not copy; as JSON it is a record. */
export class RemotePods {
  readonly #bySource: PersistentMap<string, readonly RemotePod[]>;
  /** Objects that claim it: mostly one. */
  readonly #byAddress: PersistentMap<string, string | readonly string[]>;

  private constructor(
    bySource: PersistentMap<string, readonly RemotePod[]>,
    byAddress: PersistentMap<string, string | readonly string[]>,
  ) {
    this.#bySource = bySource;
    this.#byAddress = byAddress;
  }

  static readonly none = new RemotePods(PersistentMap.empty(), PersistentMap.empty());

  static from(record: PodsBySource): RemotePods {
    return Object.entries(record).reduce((all, [source, pods]) => all.with(source, pods), RemotePods.none);
  }

  of(source: string): readonly RemotePod[] {
    return this.#bySource.get(source) ?? [];
  }

  /** What an object says from now on. */
  with(source: string, pods: readonly RemotePod[]): RemotePods {
    let byAddress = this.#byAddress;
    for (const address of addressesOfPods(this.of(source))) {
      const left = listed(byAddress.get(address)).filter((one) => one !== source);
      byAddress = left.length > 0 ? byAddress.set(address, shortened(left)) : byAddress.delete(address);
    }
    for (const address of new Set(addressesOfPods(pods)))
      byAddress = byAddress.set(address, shortened([...listed(byAddress.get(address)), source]));
    const bySource = pods.length > 0 ? this.#bySource.set(source, pods) : this.#bySource.delete(source);
    return new RemotePods(bySource, byAddress);
  }

  addresses(): string[] {
    return this.#byAddress.keys();
  }

  /** Whose address it is. */
  podAt(address: string): RemotePod | undefined {
    return this.#claimAt(address)?.pod;
  }

  /** `namespace/name` of the pod that has it; empty where a slice says so, which has no names. */
  nameAt(address: string): string {
    const source = this.#claimAt(address)?.source ?? '';
    return source.startsWith(BY_POD) ? source.slice(BY_POD.length) : '';
  }

  #claimAt(address: string): { pod: RemotePod; source: string } | undefined {
    let found: { pod: RemotePod; source: string } | undefined;
    for (const source of [...listed(this.#byAddress.get(address))].sort())
      for (const pod of this.of(source))
        if (pod.addresses.includes(address) && (found === undefined || pod.created > found.pod.created))
          found = { pod, source };
    return found;
  }

  /** Those that are on a node with one of these addresses. */
  on(nodes: readonly string[]): RemotePods {
    let left: RemotePods = this;
    for (const [source, pods] of this.#bySource.entries()) {
      const still = pods.filter(({ node }) => nodes.includes(node));
      if (still.length < pods.length) left = left.with(source, still);
    }
    return left;
  }

  toJSON(): PodsBySource {
    return Object.fromEntries([...this.#bySource.entries()].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

function listed(sources: string | readonly string[] | undefined): readonly string[] {
  if (sources === undefined) return [];
  return typeof sources === 'string' ? [sources] : sources;
}
const shortened = (sources: readonly string[]): string | readonly string[] =>
  sources.length === 1 ? (sources[0] as string) : sources;

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

export const addressesOfPods = (pods: readonly RemotePod[]): string[] => pods.flatMap(({ addresses }) => addresses);

/** Whether two states of an object say the same. */
export const samePods = (a: readonly RemotePod[], b: readonly RemotePod[]): boolean =>
  a.length === b.length &&
  a.every((pod, at) => {
    const other = b[at] as RemotePod;
    return (
      pod.identity === other.identity &&
      pod.node === other.node &&
      pod.created === other.created &&
      pod.addresses.length === other.addresses.length &&
      pod.addresses.every((address, i) => address === other.addresses[i])
    );
  });
