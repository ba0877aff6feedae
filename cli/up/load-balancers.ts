/**
 * The cloud's part of a Service of type LoadBalancer: addresses from a small range, written to its status, and routes from
 * outside to the nodes that serve it.
 *
 * - With externalTrafficPolicy Local only nodes with a ready endpoint get its packets, as health checks would have it.
 * - A service with a loadBalancerClass is somebody else's.
 */
import type { KubeObject } from '../../cluster/events.ts';
import { canonicalAddress, contains, familyOf } from '../../machines/cidr.ts';
import { canonical } from '../../state/tables.ts';
import { ipBatch } from './command.ts';
import type { Service } from './endpoint-slices.ts';
import { LOAD_BALANCER_RANGE, loadBalancerAddress } from './names.ts';
import { isConflict, isGone, type Objects } from './objects.ts';

/** As many as the smaller range has addresses for. */
const ADDRESSES_MAX = 250;
const GATHER_MS = 20;

type Nodes = ReadonlyMap<string, readonly string[]>;
interface Slice extends KubeObject {
  endpoints?: { nodeName?: string; conditions?: { ready?: boolean } }[];
}
interface Balanced extends Service {
  spec: Service['spec'] & {
    type?: string;
    loadBalancerClass?: string;
    loadBalancerIP?: string;
    externalTrafficPolicy?: string;
  };
  status?: { loadBalancer?: { ingress?: { ip?: string; ipMode?: string }[] } };
}

const isBalanced = ({ metadata, spec }: Balanced): boolean =>
  spec.type === 'LoadBalancer' && !spec.loadBalancerClass && metadata.deletionTimestamp === undefined;
export const ingressOf = ({ status }: Balanced): string[] =>
  (status?.loadBalancer?.ingress ?? []).flatMap(({ ip }) => (ip ? [ip] : []));

/** One address for each family: what it has, what it asks for if that is free, or the next that is. */
export function addressesFor(service: Balanced, taken: ReadonlySet<string>): string[] {
  if (!isBalanced(service)) return [];
  return (service.spec.ipFamilies ?? ['IPv4']).flatMap((name) => {
    const family = name === 'IPv6' ? 6 : 4;
    const range = LOAD_BALANCER_RANGE[`ipv${family}`];
    const wish = canonicalAddress(service.spec.loadBalancerIP ?? '');
    const isFree = (address: string): boolean =>
      familyOf(address) === family && contains(range, address) && !taken.has(address);
    const all = Array.from({ length: ADDRESSES_MAX }, (_, i) => loadBalancerAddress(i)[`ipv${family}`]);
    const found = [...(wish ? [wish] : []), ...ingressOf(service), ...all].find(isFree);
    return found ? [found] : [];
  });
}

/** Addresses of the nodes that get its packets, by family of the address. */
export function nodesFor(service: Balanced, slices: readonly Slice[], nodes: Nodes, address: string): string[] {
  const ready = new Set(
    slices.flatMap(({ endpoints = [] }) =>
      endpoints.filter(({ conditions }) => conditions?.ready !== false).map(({ nodeName }) => nodeName),
    ),
  );
  const isLocal = service.spec.externalTrafficPolicy === 'Local';
  return [...nodes]
    .filter(([name]) => !isLocal || ready.has(name))
    .flatMap(([, addresses]) => addresses.filter((own) => familyOf(own) === familyOf(address)));
}

export function routeTo(address: string, nodes: readonly string[]): string {
  const hops = nodes.map((node) => (nodes.length > 1 ? `nexthop via ${node}` : `via ${node}`)).join(' ');
  return nodes.length > 0 ? `route replace ${address} ${hops}` : `route replace unreachable ${address}`;
}

export class LoadBalancers {
  readonly #objects: Objects;
  readonly #netns: string;
  readonly #log: (line: string) => void;
  readonly #services = new Map<string, Balanced>();
  readonly #slices = new Map<string, Slice>();
  readonly #nodes = new Map<string, string[]>();
  /** What the router has, by address. */
  readonly #routes = new Map<string, string>();
  readonly #unfollow: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #writing = Promise.resolve();

  /** `netns` is that of the router. */
  constructor(objects: Objects, netns: string, log: (line: string) => void) {
    this.#objects = objects;
    this.#netns = netns;
    this.#log = log;
  }

  start(): void {
    this.#follow('services', this.#services, (service: Balanced) => service);
    this.#follow('endpointslices', this.#slices, (slice: Slice) => slice);
    this.#follow('nodes', this.#nodes, ({ status }: KubeObject) =>
      ((status as { addresses?: { type: string; address: string }[] } | undefined)?.addresses ?? [])
        .filter(({ type }) => type === 'InternalIP')
        .map(({ address }) => address),
    );
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    for (const end of this.#unfollow) end();
    await this.#writing;
  }

  #follow<T extends KubeObject, V>(resource: string, known: Map<string, V>, read: (object: T) => V): void {
    const key = ({ metadata: { namespace, name } }: T): string => (namespace ? `${namespace}/${name}` : name);
    const changed = (): void => {
      this.#timer ??= setTimeout(() => this.#work(), GATHER_MS).unref();
    };
    this.#unfollow.push(
      this.#objects.follow<T>(resource, {
        upserted: (object) => {
          known.set(key(object), read(object));
          changed();
        },
        deleted: (object) => {
          known.delete(key(object));
          changed();
        },
      }),
    );
  }

  #work(): void {
    this.#timer = undefined;
    const wanted = new Map<string, string>();
    const taken = new Set<string>();
    // Who has an address keeps it, whoever else has come.
    const inOrder = [...this.#services].sort(([, a], [, b]) => ingressOf(b).length - ingressOf(a).length);
    for (const [key, service] of inOrder) {
      const addresses = addressesFor(service, taken);
      for (const address of addresses) taken.add(address);
      this.#announce(service, addresses);
      const label = key.slice(key.indexOf('/') + 1);
      const slices = [...this.#slices.values()].filter(
        ({ metadata }) =>
          metadata.namespace === service.metadata.namespace &&
          metadata.labels?.['kubernetes.io/service-name'] === label,
      );
      for (const address of addresses)
        wanted.set(address, routeTo(address, nodesFor(service, slices, this.#nodes, address)));
    }
    const lines = [...wanted].filter(([address, line]) => this.#routes.get(address) !== line).map(([, line]) => line);
    for (const address of this.#routes.keys()) if (!wanted.has(address)) lines.push(`route delete ${address}`);
    this.#routes.clear();
    for (const [address, line] of wanted) this.#routes.set(address, line);
    if (lines.length === 0) return;
    this.#writing = this.#writing.then(() =>
      ipBatch(this.#netns, lines).catch((error: unknown) => this.#log(`routes of load balancers: ${error}`)),
    );
  }

  #announce(service: Balanced, addresses: readonly string[]): void {
    const isOurs = isBalanced(service) || (service.spec.type !== 'LoadBalancer' && ingressOf(service).length > 0);
    const ingress = addresses.map((ip) => ({ ip, ipMode: 'VIP' }));
    if (!isOurs || canonical(service.status?.loadBalancer?.ingress ?? []) === canonical(ingress)) return;
    const { namespace, name, uid } = service.metadata;
    try {
      // A merge patch: null takes a field away.
      const loadBalancer = { ingress: ingress.length > 0 ? ingress : null };
      this.#objects.patch('services', namespace, name, { status: { loadBalancer } }, 'status', uid);
    } catch (error) {
      if (!isGone(error) && !isConflict(error)) throw error;
    }
  }
}
