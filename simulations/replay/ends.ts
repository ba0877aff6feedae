/** Who and where the ends of a flow are at a moment of a replay: pods, nodes and the world, as the events so far told of them. */
import type { ClusterEvent, KubeObject } from '../../cluster/events.ts';
import type { EndpointRow, IpcacheRow, LocalEndpointRow, NetdevRow } from '../../state/tables.ts';
import { LongestPrefix } from '../packet-model/address.ts';
import type { Place } from '../packet-model.ts';
import type { FlowEnd } from '../policy-oracle/flow.ts';
import type { ChangedRow } from './moment.ts';

/** Of the documentation's networks: nobody's pod. */
const WORLD = ['198.51.100.99', '2001:db8:ffff::99'];
const REMOTE_NODE = 6;
const API_SERVER = 7;

export interface KnownEnd {
  /** In the order in which they are tried: IPv4 first. */
  addresses: string[];
  /** A pod of this node. */
  isHere: boolean;
  isHost: boolean;
}

export class Ends {
  readonly #local = new Map<string, { pod: string; addresses: string[] }>();
  /** Pods that were ever on this node: their objects go after they do. */
  readonly #here = new Set<string>();
  readonly #remote = new Map<string, string[]>();
  readonly #endpoints = new Map<string, EndpointRow>();
  readonly #netdevs = new Map<string, NetdevRow>();
  readonly #ipcache = new Map<string, number>();
  readonly #podCidrs = new LongestPrefix<true>();
  readonly #nodeName: string;

  constructor(nodeName: string) {
    this.#nodeName = nodeName;
  }

  /** False: nothing changed by it. */
  hear(event: ClusterEvent): boolean {
    if (event.type !== 'kube.upserted' && event.type !== 'kube.deleted') return false;
    const { object, resource } = event;
    if (resource === 'nodes' && object.metadata.name === this.#nodeName) {
      for (const cidr of ((object.spec ?? {}) as { podCIDRs?: string[] }).podCIDRs ?? [])
        this.#podCidrs.set(cidr, true);
      return false;
    }
    if (resource !== 'ciliumendpoints') return false;
    const key = `${object.metadata.namespace}/${object.metadata.name}`;
    if (event.type === 'kube.deleted') return this.#remote.delete(key);
    const addresses = addressesOfEndpoint(object);
    const isNew = addresses.join() !== this.#remote.get(key)?.join();
    this.#remote.set(key, addresses);
    return isNew;
  }

  row({ table, key, value }: ChangedRow): boolean {
    switch (table) {
      case 'local.endpoints': {
        const { podNamespace, podName, ipv4, ipv6 } = (value ?? {}) as Partial<LocalEndpointRow>;
        if (value === undefined) this.#local.delete(key);
        else this.#here.add(`${podNamespace}/${podName}`);
        if (value !== undefined)
          this.#local.set(key, { pod: `${podNamespace}/${podName}`, addresses: [ipv4, ipv6].filter(isText) });
        return true;
      }
      case 'bpf.endpoints':
        return keep(this.#endpoints, key, value as EndpointRow | undefined);
      case 'bpf.netdevs':
        return keep(this.#netdevs, key, value as NetdevRow | undefined);
      case 'bpf.ipcache':
        return keep(this.#ipcache, key, (value as IpcacheRow | undefined)?.identity);
      default:
        return false;
    }
  }

  /** Undefined: there is no such end now. */
  find(end: FlowEnd): KnownEnd | undefined {
    if ('ip' in end) return { addresses: [end.ip], isHere: this.#endpoints.has(end.ip), isHost: this.#isHost(end.ip) };
    if ('pod' in end) {
      const name = end.pod.includes('/') ? end.pod : `default/${end.pod}`;
      for (const { pod, addresses } of this.#local.values()) if (pod === name) return this.#endpointWith(addresses);
      const addresses = this.#here.has(name) ? undefined : this.#remote.get(name);
      return addresses && { addresses, isHere: false, isHost: false };
    }
    const addresses = this.#ofEntity(end.entity);
    return addresses.length > 0 ? { addresses, isHere: false, isHost: end.entity === 'host' } : undefined;
  }

  /** A pod without an entry in the map of endpoints is not there yet, or not any more. */
  #endpointWith(all: readonly string[]): KnownEnd | undefined {
    const addresses = all.filter((address) => this.#endpoints.has(address));
    return addresses.length > 0 ? { addresses, isHere: true, isHost: false } : undefined;
  }

  #ofEntity(entity: string): string[] {
    if (entity === 'world') return WORLD;
    if (entity === 'host') return [...this.#netdevs.values()].flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6].filter(isText));
    const wanted = entity === 'remote-node' ? REMOTE_NODE : API_SERVER;
    const found = [...this.#ipcache]
      .filter(([, identity]) => identity === wanted)
      .map(([cidr]) => cidr.split('/')[0] ?? '');
    return found.sort((a, b) => Number(a.includes(':')) - Number(b.includes(':')));
  }

  #isHost(address: string): boolean {
    for (const { ipv4, ipv6 } of this.#netdevs.values()) if (address === ipv4 || address === ipv6) return true;
    return false;
  }

  /** Where the first packet of a connection is met. */
  placeOf(from: KnownEnd, source: string, target: string): Place | undefined {
    const own = this.#endpoints.get(source);
    if (from.isHere) return own && { program: 'from_endpoint', link: own.link };
    const other = this.#endpoints.get(target);
    if (from.isHost) return other && { program: 'to_endpoint', link: other.link };
    const [device] = [...this.#netdevs.keys()].filter((name) => !name.startsWith('cilium_')).sort();
    return device === undefined ? undefined : { program: 'from_netdev', link: device };
  }

  /** An address of this node's pods that no pod has: packets to it end in nothing. */
  isNobodys(address: string): boolean {
    return this.#podCidrs.find(address) === true && !this.#endpoints.has(address) && !this.#isHost(address);
  }
}

const isText = (text: string | undefined): text is string => text !== undefined && text !== '';

function keep<V>(map: Map<string, V>, key: string, value: V | undefined): boolean {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
  return true;
}

function addressesOfEndpoint({ status }: KubeObject): string[] {
  const { networking } = (status ?? {}) as { networking?: { addressing?: { ipv4?: string; ipv6?: string }[] } };
  const pairs = networking?.addressing ?? [];
  return [...pairs.map(({ ipv4 }) => ipv4), ...pairs.map(({ ipv6 }) => ipv6)].filter(isText);
}
