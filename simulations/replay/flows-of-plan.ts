/**
 * Flows that a plan is about: for each end whose rows it changes, connections with a few others, both ways.
 *
 * - Not all flows that there are: a few of each sort, chosen by the order of names, so that a big node can be checked at every op.
 */
import type { Op } from '../../datapath/driver.ts';
import type { EndpointRow, FrontendRow, PolicyEntryRow, TableName } from '../../state/tables.ts';
import { protocols, tcpFlags } from '../packet-model/packet.ts';
import { entryOf } from '../packet-model/policy-entry.ts';
import type { Packet, Place } from '../packet-model.ts';
import type { Flow } from '../prefix-check.ts';
import type { ChangedRow } from './moment.ts';

const PODS_MAX = 6;
const PEERS_MAX = 12;
const FLOWS_MAX = 120;
const SPORT = 40_000;
const WORLD = ['198.51.100.99', '2001:db8:ffff::99'];
const NUMBERS = { TCP: protocols.tcp, UDP: protocols.udp, SCTP: protocols.sctp } as const;
const USUAL_PORTS = [
  { proto: protocols.tcp, port: 80 },
  { proto: protocols.udp, port: 53 },
] as const;

interface Port {
  proto: number;
  port: number;
}

export class FlowsOfPlans {
  readonly #endpoints = new Map<string, EndpointRow>();
  readonly #ipcache = new Map<string, number>();
  readonly #frontends = new Map<string, FrontendRow>();
  readonly #netdevs = new Set<string>();
  /** Addresses by identity, so that a policy entry finds its peers. */
  readonly #peers = new Map<number, Set<string>>();

  row({ table, key, value }: ChangedRow): void {
    if (table === 'bpf.endpoints') keep(this.#endpoints, key, value as EndpointRow | undefined);
    else if (table === 'bpf.frontends') keep(this.#frontends, key, value as FrontendRow | undefined);
    else if (table === 'bpf.netdevs') value === undefined ? this.#netdevs.delete(key) : this.#netdevs.add(key);
    else if (table === 'bpf.ipcache') this.#learn(key, (value as { identity: number } | undefined)?.identity);
  }

  #learn(cidr: string, identity: number | undefined): void {
    const before = this.#ipcache.get(cidr);
    if (before !== undefined) this.#peers.get(before)?.delete(cidr);
    keep(this.#ipcache, cidr, identity);
    if (identity === undefined) return;
    const cidrs = this.#peers.get(identity) ?? new Set();
    this.#peers.set(identity, cidrs.add(cidr));
  }

  /** What the ops are about, as the rows were before them. */
  of(ops: readonly Op[]): Flow[] {
    const pods = new Map<string, EndpointRow>();
    const peers = new Set<string>();
    const ports = new Map<string, Port>(USUAL_PORTS.map((one) => [`${one.proto}/${one.port}`, one]));
    const frontends = new Set<string>();
    for (const { table, key, value, before } of ops) {
      const row = value ?? before;
      if (table === 'bpf.endpoints') pods.set(key, row as EndpointRow);
      else if (table === 'bpf.ipcache' && peers.size < PEERS_MAX) peers.add(firstOf(key));
      else if (table === 'bpf.frontends') frontends.add(key);
      else if (table === 'bpf.backend-sets' || table === 'bpf.backends') this.#frontendsOf(table, key, frontends);
      else if (table === 'bpf.policy') this.#ofEntry(key, row, pods, peers, ports);
      else if (table === 'bpf.policy-maps') this.#podOf(Number(key), pods);
    }
    if (pods.size === 0 && peers.size === 0 && frontends.size === 0) return [];
    for (const [address, row] of this.#endpoints) {
      if (pods.size >= PODS_MAX) break;
      pods.set(address, row);
    }
    const targets = [...frontends].slice(0, PEERS_MAX).map(targetOf);
    for (const address of this.#endpoints.keys()) {
      if (peers.size >= PEERS_MAX) break;
      peers.add(address);
    }
    for (const address of WORLD) peers.add(address);
    return this.#between([...pods].slice(0, PODS_MAX), [...peers], [...ports.values()], targets).slice(0, FLOWS_MAX);
  }

  #between(
    pods: readonly [string, EndpointRow][],
    peers: readonly string[],
    ports: readonly Port[],
    targets: readonly (Port & { address: string })[],
  ): Flow[] {
    const flows: Flow[] = [];
    const [device] = [...this.#netdevs].sort();
    const add = (place: Place, from: string, to: string, { proto, port }: Port): void => {
      if (from === to || from.includes(':') !== to.includes(':')) return;
      const isTcp = proto === protocols.tcp;
      const packet: Packet = {
        from,
        to,
        proto,
        sport: SPORT,
        dport: port,
        ttl: 64,
        ...(isTcp && { tcpFlags: tcpFlags.syn }),
      };
      flows.push({ place, packet });
    };
    for (const [address, { link }] of pods) {
      // In a pod that is being wired nothing runs yet that could ask services, which come after it in the plan.
      for (const target of this.#endpoints.has(address) ? targets : [])
        add({ program: 'from_endpoint', link }, address, target.address, target);
      for (const peer of peers) {
        for (const port of ports) {
          add({ program: 'from_endpoint', link }, address, peer, port);
          if (!this.#endpoints.has(peer) && device) add({ program: 'from_netdev', link: device }, peer, address, port);
        }
      }
    }
    if (device)
      for (const target of targets)
        for (const peer of WORLD) add({ program: 'from_netdev', link: device }, peer, target.address, target);
    return flows;
  }

  #ofEntry(
    key: string,
    row: unknown,
    pods: Map<string, EndpointRow>,
    peers: Set<string>,
    ports: Map<string, Port>,
  ): void {
    const [endpoint, , identity] = key.split('|');
    this.#podOf(Number(endpoint), pods);
    for (const cidr of this.#peers.get(Number(identity)) ?? []) {
      if (peers.size >= PEERS_MAX) break;
      peers.add(firstOf(cidr));
    }
    const entry = entryOf(key, row as PolicyEntryRow);
    if (entry.port > 0 && ports.size < PEERS_MAX) ports.set(`${entry.proto}/${entry.port}`, entry);
  }

  #podOf(id: number, pods: Map<string, EndpointRow>): void {
    for (const [address, row] of this.#endpoints) if (row.id === id) pods.set(address, row);
  }

  #frontendsOf(table: TableName, key: string, found: Set<string>): void {
    if (table !== 'bpf.backend-sets') return;
    for (const [name, { internalSet, externalSet }] of this.#frontends) {
      if (found.size >= PEERS_MAX) return;
      if (internalSet === key || externalSet === key) found.add(name);
    }
  }
}

const firstOf = (cidr: string): string => cidr.split('/')[0] ?? '';

function targetOf(frontend: string): Port & { address: string } {
  const [, address = '', port = '', protocol = ''] = /^\[?(.*?)\]?:(\d+)\/(\w+)$/.exec(frontend) ?? [];
  return { address, port: Number(port), proto: NUMBERS[protocol as keyof typeof NUMBERS] ?? protocols.tcp };
}

function keep<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
