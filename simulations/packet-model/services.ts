/**
 * Services: which backend a connection to a frontend has, and as whom its packets are sent on and its replies come back.
 *
 * - A connection's first packet chooses: what affinity remembers while it is in the set, else for clients from outside the Maglev
 *   slot, else any backend of the set.
 * - A stream keeps what it has while it lives, whatever becomes of service, set and backend; datagrams, and a SYN that is not yet
 *   answered for, choose anew when the backend's row is gone.
 * - Replies are translated by what the connection knows, never by the service.
 */
import { maglevTable } from '../../datapath/maglev.ts';
import { backendKey, type FrontendRow, type Protocol } from '../../state/tables.ts';
import { isV6 } from './address.ts';
import type { Connections } from './conntrack.ts';
import { clientHash } from './maglev-hash.ts';
import { type Packet, protocols, reversed, type Tuple, tcpFlags } from './packet.ts';
import type { ModelTables } from './tables.ts';

export interface ServiceConfig {
  /** Without a backend the client is told; else the packet is just dropped. */
  reject: boolean;
  /** ClusterIPs are reachable from outside. */
  externalClusterIP: boolean;
  /** Source of a pod that reaches itself through a service. */
  loopback: { ipv4: string; ipv6: string };
}

export interface ServiceFlow {
  backend: string;
  number: number;
  address: string;
  port: number;
  frontend: { address: string; port: number };
  /** Client and backend are one pod. */
  isHairpin: boolean;
  isDsr: boolean;
}

export type Selection =
  | { kind: 'none' }
  | { kind: 'drop'; reason: string }
  /** There is no backend, and the client is told. */
  | { kind: 'refused'; reason: string }
  | { kind: 'to'; flow: ServiceFlow; packet: Packet };

/** Chance: one of these backends, of which there is at least one. Undefined: none of the tries found one whose port was free. */
export type Choose = (among: readonly string[], isDropPossible: boolean) => string | undefined;

const NONE: Selection = { kind: 'none' };
const NO_BACKEND = 'SERVICE_BACKEND_NOT_FOUND';
export const protocolNames: Readonly<Record<number, Protocol>> = { 6: 'TCP', 17: 'UDP', 132: 'SCTP' };

const tupleKey = ({ from, to, proto, sport, dport }: Tuple): string => `${proto} ${from} ${sport} ${to} ${dport}`;

/** Any datagram may begin a connection. */
const mayBegin = ({ proto, tcpFlags: flags = 0 }: Packet): boolean =>
  proto === protocols.udp || (flags & (tcpFlags.syn | tcpFlags.ack)) === tcpFlags.syn;

export class Services {
  readonly #tables: ModelTables;
  readonly #connections: Connections;
  readonly #config: ServiceConfig;
  readonly #choose: Choose;
  readonly #forward = new Map<string, ServiceFlow>();
  /** By the tuple of a reply as the backend sends it. */
  readonly #reply = new Map<string, ServiceFlow>();
  /** By client and number of the set. */
  readonly #affinity = new Map<string, { backend: string; number: number }>();

  constructor(tables: ModelTables, connections: Connections, config: ServiceConfig, choose: Choose) {
    this.#tables = tables;
    this.#connections = connections;
    this.#config = config;
    this.#choose = choose;
  }

  /** A packet of a client, on this node or outside. */
  select(packet: Packet, isExternal: boolean): Selection {
    const name = protocolNames[packet.proto];
    if (!name) return NONE;
    const frontendName = backendKey({ address: packet.to, port: packet.dport, protocol: name });
    const frontend = this.#tables.frontends.get(frontendName);
    const known = this.#forward.get(tupleKey(packet));
    if (known && (frontend || !mayBegin(packet)) && this.#isGood(packet, known)) return this.#towards(packet, known);
    if (!frontend) return NONE;
    const refused = isExternal ? this.#refusal(packet, frontendName, frontend) : undefined;
    return refused ?? this.#begin(packet, frontend, isExternal);
  }

  #isGood(packet: Packet, flow: ServiceFlow): boolean {
    if (!mayBegin(packet)) return true;
    const { state } = this.#connections.stateOf(this.translated(packet, flow));
    return state !== 'new' && this.#tables.backends.get(flow.backend)?.number === flow.number;
  }

  #refusal(packet: Packet, name: string, frontend: FrontendRow): Selection | undefined {
    if (frontend.type === 'ClusterIP' && !this.#config.externalClusterIP)
      return { kind: 'drop', reason: 'IS_A_CLUSTERIP' };
    if (frontend.sourceRanges && !this.#tables.ranges.get(name)?.find(packet.from))
      return { kind: 'drop', reason: 'DENIED_BY_LB_SRC_RANGE_CHECK' };
    return undefined;
  }

  #begin(packet: Packet, frontend: FrontendRow, isExternal: boolean): Selection {
    const setName = isExternal ? frontend.externalSet : frontend.internalSet;
    const candidates = this.#candidates(packet, setName, isExternal);
    if (candidates.all.length === 0) return this.#unserved(frontend, isExternal);
    const flowTo = (backend: string): ServiceFlow =>
      this.#flowTo(packet, backend, isExternal && frontend.forwarding === 'dsr');
    const isFree = (backend: string): boolean => this.#isFree(packet, flowTo(backend));
    const first = candidates.first.filter(isFree);
    const free = candidates.all.filter(isFree);
    // A designated backend that cannot be used is followed by random tries, and those may all fail.
    const among = candidates.first.length === 1 && first.length === 1 ? first : free;
    const chosen = this.#choose(among, among !== first && free.length < candidates.all.length);
    if (chosen === undefined) return { kind: 'drop', reason: 'NO_MAPPING_FOR_NAT_MASQUERADE' };
    const flow = flowTo(chosen);
    this.#forward.set(tupleKey(packet), flow);
    this.#reply.set(tupleKey(reversed(this.translated(packet, flow))), flow);
    const set = this.#tables.sets.get(setName);
    if (set?.row.affinityTimeout)
      this.#affinity.set(`${packet.from} ${set.number}`, { backend: chosen, number: flow.number });
    return this.#towards(packet, flow);
  }

  /** `first`: what is tried first; one only where it is not left to chance. */
  #candidates(packet: Packet, setName: string, isExternal: boolean): { first: string[]; all: string[] } {
    const { row: set, number } = this.#tables.sets.get(setName) ?? {};
    const all = (set?.backends ?? []).filter((name) => this.#tables.backends.has(name));
    if (!set || all.length === 0) return { first: [], all: [] };
    const last = set.affinityTimeout ? this.#affinity.get(`${packet.from} ${number}`) : undefined;
    if (last && all.includes(last.backend) && this.#tables.backends.get(last.backend)?.number === last.number)
      return { first: [last.backend], all };
    if (!isExternal || set.maglevSize === 0) return { first: all, all };
    const sport = set.affinityTimeout ? 0 : packet.sport;
    const slot = clientHash({ ...packet, sport }) % set.maglevSize;
    const index = maglevTable(set.backends, set.maglevSize)[slot] ?? 0;
    const chosen = set.backends[index] ?? '';
    return { first: this.#tables.backends.has(chosen) ? [chosen] : all, all };
  }

  #unserved(frontend: FrontendRow, isExternal: boolean): Selection {
    // Where only local backends count, another node may have one: nobody is told that there is none.
    const isElsewhere = isExternal && frontend.externalLocal;
    return { kind: this.#config.reject && !isElsewhere ? 'refused' : 'drop', reason: NO_BACKEND };
  }

  #flowTo(packet: Packet, backend: string, isDsr: boolean): ServiceFlow {
    const entry = this.#tables.backends.get(backend);
    if (!entry) throw new Error(`chose backend ${backend}, which has no row`);
    const { address, port } = entry.row;
    const frontend = { address: packet.to, port: packet.dport };
    return {
      backend,
      number: entry.number,
      address,
      port,
      frontend,
      isHairpin: address === packet.from && this.#tables.endpoints.has(address),
      isDsr,
    };
  }

  /** A client's port is used once towards one backend: not while another connection of it, to there or to another frontend, lives. */
  #isFree(packet: Packet, flow: ServiceFlow): boolean {
    const sent = this.translated(packet, flow);
    const { state, connection } = this.#connections.stateOf(sent);
    if (state === 'new') return true;
    if (connection && !connection.isService) return false;
    const owner = this.#reply.get(tupleKey(reversed(sent)));
    return !owner || (owner.frontend.address === packet.to && owner.frontend.port === packet.dport);
  }

  #towards(packet: Packet, flow: ServiceFlow): Selection {
    return { kind: 'to', flow, packet: this.translated(packet, flow) };
  }

  /** Stands for the pod that reached itself. */
  isLoopback(address: string): boolean {
    return address === this.#config.loopback.ipv4 || address === this.#config.loopback.ipv6;
  }

  /** As the backend sees it. */
  translated(packet: Packet, flow: ServiceFlow): Packet {
    const { ipv4, ipv6 } = this.#config.loopback;
    const from = flow.isHairpin ? (isV6(packet.from) ? ipv6 : ipv4) : packet.from;
    return { ...packet, from, to: flow.address, dport: flow.port };
  }

  /** A backend's packet as the client knows it; undefined: nothing is known of its connection. */
  restored(packet: Packet): Packet | undefined {
    const flow = this.#reply.get(tupleKey(packet));
    if (!flow) return undefined;
    const { address, port } = flow.frontend;
    return { ...packet, from: address, sport: port, ...(flow.isHairpin && { to: packet.from }) };
  }
}
